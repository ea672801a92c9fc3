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

constexpr Duration kAnswerTime = std::chrono::seconds(2);
constexpr Duration kRejection = std::chrono::seconds(10);
constexpr Duration kLookAgain = std::chrono::seconds(5);  // for somebody better

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
    rejected_[server] = clock_.now() + kRejection;
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
            const bool well = self->server_ && self->neighbours_ > 0;
            if (!well && !self->network_->connections().empty()) again = clock.now() + kLookAgain;
        } else {
            co_return;
        }
        awaitable<void> waiting = changed->wait();
        co_await detail::ends_in_time(clock, again, std::move(waiting));
    }
}

awaitable<void> ServerChoice::choose() {
    if (server_ && neighbours_ > 0) co_return;
    std::vector<PeerId> peers;
    for (const net::ConnectionInfo& connection : network_->connections())
        if (is_eligible(connection.peer)) peers.push_back(connection.peer);
    const PeerId self = network_->self();
    std::sort(peers.begin(), peers.end(), [&](const PeerId& a, const PeerId& b) {
        return preference(self, a).bytes < preference(self, b).bytes;
    });
    std::optional<PeerId> lowest;
    for (const PeerId& peer : peers) {
        const std::optional<std::uint32_t> neighbours = co_await ask_for_neighbours(peer);
        if (!neighbours || !network_->is_connected(peer)) continue;
        if (*neighbours > 0) {
            neighbours_ = *neighbours;
            set_server(peer);
            co_return;
        }
        if (!lowest || peer < *lowest) lowest = peer;
    }
    // Nobody has UDP. Only ever towards lower ids: so no circle comes about in which records go astray.
    if (lowest && serves_ && self < *lowest) lowest.reset();
    neighbours_ = 0;
    set_server(lowest);
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
        rejected_[peer] = clock_.now() + kRejection;
        co_return std::nullopt;
    }
}

}  // namespace shoal::dht
