// Whom a search for a group knows, and which attempt they are at.
#include <algorithm>
#include <functional>
#include <utility>

#include "shoal/collective/group_matching.h"
#include "shoal/collective/lineage.h"

namespace shoal::collective {
namespace {

bool contains(const std::vector<PeerId>& peers, const PeerId& peer) {
    return std::find(peers.begin(), peers.end(), peer) != peers.end();
}

}  // namespace

void GroupMatching::refresh_expected() {
    expected_ = request_.expected ? request_.expected() : std::vector<ExpectedPeer>();
    welcome_.clear();
    for (const ExpectedPeer& expected : expected_) {
        if (!contains(request_.excluded, expected.peer) || expected.peer == self_) continue;
        welcome_.push_back(expected.peer);
    }
    for (const ExpectedPeer& expected : expected_)
        if (known_.insert(expected.peer).second && candidates_.contains(expected.peer)) --strangers_;
    lobby_.set_known(known_);
    const auto unwanted = [this](const ExpectedPeer& e) {
        return e.peer == self_ || contains(request_.excluded, e.peer);
    };
    std::erase_if(expected_, unwanted);
    for (const ExpectedPeer& expected : expected_)
        if (can_lead(expected.role)) candidates_.try_emplace(expected.peer);
}

/// Somebody has said goodbye, or the time for the last round's members is over: that is another offer.
void GroupMatching::refresh_lineage() {
    if (!request_.lineage) return;
    Join now = own_;
    const Lineage lineage = request_.lineage();
    for (const PeerId& member : lineage.members)
        if (known_.insert(member).second && candidates_.contains(member)) --strangers_;
    set_lineage(now, lineage);
    if (now.last_members != own_.last_members || now.newcomer != own_.newcomer) take_up_attempt(attempt_);
}

void GroupMatching::take_up_attempt(unsigned attempt) {
    attempt_ = attempt;
    own_.peer = self_;
    own_.nonce = nonce_;
    own_.step = request_.step;
    own_.attempt = attempt;
    own_.role = settings_.role;
    own_.weight = request_.weight;
    own_.upload = request_.upload;
    own_.download = request_.download;
    own_.objections = request_.objections;
    own_.elements = request_.elements;
    own_.state_elements = request_.state_elements;
    own_.state_counts = request_.state_counts;
    own_.codec = format_.name();
    own_.pieces = request_.pieces;
    if (request_.lineage) set_lineage(own_, request_.lineage());
    own_.signed_bytes = sign_join(own_, settings_.run, settings_.signer.get());
    // Another order of candidates: begin anew with everybody that can be reached.
    for (auto& [peer, candidate] : candidates_) {
        stop_asking(peer);
        candidate.ruled_out.clear();
        candidate.retries = 0;
        candidate.first_asked.reset();
    }
}

/// Whoever raises the attempt makes everybody begin anew. So it takes most of those that are known to go
/// anywhere; a few that most have not met (or liars) move it a little.
void GroupMatching::take_up_attempts_of_others() {
    for (const Lobby::GuestPointer& guest : lobby_.guests()) {
        const Join& join = guest->join;
        if (join.step != request_.step || !is_known(join.peer)) continue;
        attempts_[join.peer] = std::max(attempts_[join.peer], join.attempt);
    }
    std::vector<unsigned> named;
    for (const PeerId& peer : known_) {
        const auto found = attempts_.find(peer);
        if (peer != self_) named.push_back(found == attempts_.end() ? 0 : found->second);
    }
    if (named.empty()) return;
    std::sort(named.begin(), named.end(), std::greater<>());
    unsigned highest = std::max(attempt_, named[named.size() / 2]);  // which more than half have reached
    const unsigned of_few = std::min(named.front(), request_.attempt + kRaiseByFew);
    highest = std::max(highest, of_few);
    if (highest > attempt_) take_up_attempt(highest);
}

/// leader_rank(), which is asked for again and again.
const Digest& GroupMatching::rank(const PeerId& peer) const {
    if (std::exchange(ranks_of_, attempt_) != attempt_) ranks_.clear();
    const auto known = ranks_.find(peer);
    if (known != ranks_.end()) return known->second;
    return ranks_.emplace(peer, leader_rank(peer, request_.step, attempt_)).first->second;
}

/// Null for one stranger too many.
GroupMatching::Candidate* GroupMatching::find_candidate(const PeerId& peer) {
    const auto found = candidates_.find(peer);
    if (found != candidates_.end()) return &found->second;
    if (!is_known(peer) && strangers_ >= kMostStrangers) return nullptr;
    if (!is_known(peer)) ++strangers_;
    return &candidates_[peer];
}

void GroupMatching::learn_candidates_from_guests() {
    for (const Lobby::GuestPointer& guest : lobby_.guests()) {
        if (guest->join.step > request_.step && is_known(guest->join.peer))
            past_[guest->join.peer] = guest->join.step;
        if (guest->join.step != request_.step || !can_lead(guest->join.role)) continue;
        Candidate* const found = find_candidate(guest->join.peer);
        if (found == nullptr) continue;
        Candidate& candidate = *found;
        // It lives and wants to take part; if it is the better one, it is worth another try.
        const bool better = comes_before(guest->join.peer, self_);
        if (better && !candidate.ruled_out.empty() && guest->joined_at > candidate.ruled_out_at) {
            stop_asking(guest->join.peer);
            candidate.ruled_out.clear();
        }
    }
}

}  // namespace shoal::collective
