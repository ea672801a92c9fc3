#include "shoal/net/lane_table.h"

#include <algorithm>
#include <utility>

#include "shoal/net/striped_pipe.h"

namespace shoal::net {

Link join_lanes(const asio::any_io_executor& executor, std::vector<Link> lanes) {
    std::vector<StripedPipe::Lane> pipes;
    for (Link& lane : lanes)
        pipes.emplace_back(std::move(lane.pipe), std::exchange(lane.agreement.already_read, {}));
    Link& first = lanes.front();
    return Link(std::make_unique<StripedPipe>(executor, std::move(pipes)), first.peer, first.dialled_by_us,
                std::move(first.agreement));
}

std::map<LaneTable::Ticket, LaneTable::Waiting>::iterator LaneTable::find(const Link& lane) {
    const Greeting& theirs = lane.agreement.theirs;
    return std::find_if(waiting_.begin(), waiting_.end(), [&](const auto& entry) {
        const Waiting& waiting = entry.second;
        return waiting.peer == lane.peer && waiting.instance == theirs.instance &&
               waiting.number.link == theirs.lane.link;
    });
}

void LaneTable::make_room(const PeerId& peer) {
    const auto of_peer = [&](const auto& entry) { return entry.second.peer == peer; };
    const auto own = std::count_if(waiting_.begin(), waiting_.end(), of_peer);
    if (own >= static_cast<std::ptrdiff_t>(kIncompleteLinksOfOnePeer))
        waiting_.erase(std::find_if(waiting_.begin(), waiting_.end(), of_peer));
    if (waiting_.size() >= kIncompleteLinks) waiting_.erase(waiting_.begin());
}

LaneTable::Outcome LaneTable::add(Link lane) {
    const Greeting& theirs = lane.agreement.theirs;
    const LaneNumber number = theirs.lane;
    Outcome outcome;
    auto entry = find(lane);
    if (entry == waiting_.end()) {
        make_room(lane.peer);
        outcome.begun = next_;
        entry = waiting_.emplace(next_++, Waiting()).first;
        Waiting& begun = entry->second;
        begun.peer = lane.peer;
        begun.instance = theirs.instance;
        begun.number = number;
        begun.lanes.resize(number.lanes);
    }
    Waiting& waiting = entry->second;
    if (number.lanes != waiting.number.lanes || waiting.lanes[number.lane]) {
        waiting_.erase(entry);
        return Outcome();
    }
    waiting.lanes[number.lane].emplace(std::move(lane));
    if (++waiting.there < waiting.lanes.size()) return outcome;
    outcome.complete.emplace();
    for (std::optional<Link>& one : waiting.lanes) outcome.complete->push_back(std::move(*one));
    waiting_.erase(entry);
    return outcome;
}

void LaneTable::drop(Ticket ticket) {
    waiting_.erase(ticket);
}

}  // namespace shoal::net
