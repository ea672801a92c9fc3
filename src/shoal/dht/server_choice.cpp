#include "shoal/dht/server_choice.h"

#include <algorithm>
#include <shoal/proto/dht.pb.h>
#include <vector>

#include "shoal/base/error.h"
#include "shoal/base/hash.h"
#include "shoal/dht/remote_directory.h"
#include "shoal/net/rpc.h"

namespace shoal::dht {

namespace {

/// Faults are remembered of so many servers.
constexpr std::size_t kRememberedFaults = 256;

/// Each client has an order of its own, so that servers share the load.
Digest preference(const PeerId& client, const PeerId& server) {
    Sha256 hash;
    hash.update(client.bytes());
    hash.update(server.bytes());
    return hash.finish();
}

}  // namespace

ServerChoice::ServerChoice(std::shared_ptr<net::Network> network, Clock& clock, bool serves, Log log)
    : network_(std::move(network)),
      clock_(clock),
      serves_(serves),
      log_(std::move(log)),
      changed_(network_->executor()),
      look_again_(std::make_shared<Signal>(network_->executor())),
      tasks_(network_->executor()) {}

void ServerChoice::start() {
    observing_ = network_->observe([weak = weak_from_this()](const PeerId&, bool, const std::string&) {
        if (const auto self = weak.lock()) self->look_again();
    });
    tasks_.spawn(keep_choosing(weak_from_this(), clock_));
}

void ServerChoice::stop() {
    stopped_ = true;
    tasks_.cancel();
    observing_.reset();
    set_server(std::nullopt);
    changed_.notify();
}

void ServerChoice::reject(const PeerId& server) {
    if (server_ != server && !is_eligible(server)) return;  // several have found the same fault
    const auto fault = faults_.find(server);
    const Duration rejection =
        fault == faults_.end() ? kRejection : std::min(2 * fault->second, kLongestRejection);
    if (faults_.size() >= kRememberedFaults) faults_.clear();
    faults_[server] = rejection;
    rejected_[server] = clock_.now() + rejection;
    if (server_ == server) set_server(std::nullopt);
    look_again();
}

void ServerChoice::set_server(std::optional<PeerId> server) {
    if (server_ == server) return;
    server_ = std::move(server);
    changed_.notify();
}

void ServerChoice::look_again() {
    if (server_ && !network_->is_connected(*server_)) set_server(std::nullopt);
    ++reasons_;
    look_again_->notify();
}

bool ServerChoice::is_eligible(const PeerId& peer) const {
    const auto rejected = rejected_.find(peer);
    return rejected == rejected_.end() || rejected->second <= clock_.now();
}

awaitable<void> ServerChoice::keep_choosing(std::weak_ptr<ServerChoice> weak, Clock& clock) {
    for (;;) {
        std::shared_ptr<Signal> changed;
        TimePoint again = TimePoint::never();
        if (const auto self = weak.lock(); self && !self->stopped_) {
            const std::uint64_t reasons = self->reasons_;
            co_await self->choose();
            if (self->reasons_ != reasons) continue;
            changed = self->look_again_;
            if (self->server_)
                again = std::min(self->check_at_, clock.now() + kLookAgain);
            else if (!self->network_->connections().empty())
                again = clock.now() + kLookAgain;
        } else {
            co_return;
        }
        awaitable<void> waiting = changed->wait();
        co_await detail::ends_in_time(clock, again, std::move(waiting));
    }
}

awaitable<void> ServerChoice::choose() {
    if (server_ && clock_.now() >= check_at_) co_await check_server();
    if (server_ && neighbours_ > 0) co_return;
    std::erase_if(rejected_, [now = clock_.now()](const auto& entry) { return entry.second <= now; });
    const std::optional<Candidate> best = co_await best_besides(std::nullopt);
    neighbours_ = best ? best->neighbours : 0;
    check_at_ = clock_.now() + kLookAgain;
    std::optional<PeerId> server;
    if (best) server = best->peer;
    set_server(std::move(server));
}

awaitable<void> ServerChoice::check_server() {
    const PeerId server = *server_;
    const std::optional<std::uint32_t> neighbours = co_await ask_for_neighbours(server);
    if (server_ != server) co_return;
    check_at_ = clock_.now() + kLookAgain;
    if (neighbours)
        neighbours_ = *neighbours;
    else
        reject(server);
}

awaitable<std::optional<PeerId>> ServerChoice::another(PeerId than) {
    const auto self = shared_from_this();
    const std::optional<Candidate> best = co_await best_besides(than);
    if (!best) co_return std::nullopt;
    co_return best->peer;
}

/// All candidates are asked at once, so that those that stay silent cost the time of one.
struct ServerChoice::Poll {
    explicit Poll(const asio::any_io_executor& executor) : changed(executor) {}
    struct Answer {
        PeerId peer;
        bool came = false;
        std::optional<std::uint32_t> neighbours;
    };
    std::vector<Answer> answers;  // in the order of preference
    Signal changed;
};

awaitable<std::optional<ServerChoice::Candidate>> ServerChoice::best_besides(std::optional<PeerId> excluded) {
    std::vector<PeerId> peers;
    for (const net::ConnectionInfo& connection : network_->connections())
        if (is_eligible(connection.peer) && connection.peer != excluded) peers.push_back(connection.peer);
    const PeerId self = network_->self();
    std::sort(peers.begin(), peers.end(), [&](const PeerId& a, const PeerId& b) {
        return preference(self, a).bytes < preference(self, b).bytes;
    });
    auto poll = std::make_shared<Poll>(network_->executor());
    poll->answers.resize(peers.size());
    TaskGroup asking(network_->executor());
    for (std::size_t i = 0; i < peers.size(); ++i) {
        poll->answers[i].peer = peers[i];
        asking.spawn(ask_candidate(shared_from_this(), poll, i));
    }
    std::optional<Candidate> lowest;
    for (const Poll::Answer& answer : poll->answers) {
        while (!answer.came) co_await poll->changed.wait();
        if (!answer.neighbours || !network_->is_connected(answer.peer)) continue;
        Candidate candidate;
        candidate.peer = answer.peer;
        candidate.neighbours = *answer.neighbours;
        if (candidate.neighbours > 0) co_return candidate;
        if (!lowest || candidate.peer < lowest->peer) lowest = candidate;
    }
    // Nobody has UDP. Only ever towards lower ids: so no circle comes about in which records go astray.
    if (lowest && serves_ && self < lowest->peer) lowest.reset();
    co_return lowest;
}

awaitable<void> ServerChoice::ask_candidate(std::shared_ptr<ServerChoice> self, std::shared_ptr<Poll> poll,
                                            std::size_t index) {
    const PeerId peer = poll->answers[index].peer;
    poll->answers[index].neighbours = co_await self->ask_for_neighbours(peer);
    poll->answers[index].came = true;
    poll->changed.notify();
}

awaitable<std::optional<std::uint32_t>> ServerChoice::ask_for_neighbours(PeerId peer) {
    try {
        net::Message request;
        const net::Message answer = co_await net::call(*network_, clock_, peer, kReadService,
                                                       std::move(request), clock_.now() + kAnswerTime);
        co_return net::parse_control<proto::ReadAnswer>(answer, peer).neighbours();
    } catch (const Error& error) {
        if (error.kind() == ErrorKind::cancelled) throw;
        log_.debug(std::string("directory: not through peer ") + peer.short_name() + ": " + error.what());
        TimePoint& until = rejected_[peer];
        until = std::max(until, clock_.now() + kRejection);
        co_return std::nullopt;
    }
}

}  // namespace shoal::dht
