// How the connections of a simulated host come up and end.
#include <fmt/format.h>

#include "shoal/sim/simulated_host.h"

namespace shoal::sim {

awaitable<net::StreamPointer> SimulatedHost::open(PeerId peer, std::string service) {
    const auto self = shared_from_this();
    const ConnectionPointer connection = co_await connect(peer);
    const int side = connection->side_of(*this);
    const std::uint64_t number = connection->next_stream++;
    auto stream = std::make_shared<StreamEnd>(connection, side, number, service, simulation().executor());
    connection->streams[static_cast<std::size_t>(side)].emplace(number, stream);
    stream->outbox.push_back({Frame::Kind::open, number, kMessageOverhead, {}, std::move(service)});
    send(stream);
    co_return std::make_shared<SimulatedStream>(std::move(stream));
}

awaitable<PeerId> SimulatedHost::dial(net::Endpoint endpoint) {
    const auto self = shared_from_this();
    const ConnectionPointer connection = co_await dial_endpoint(std::move(endpoint));
    co_return connection->hosts[static_cast<std::size_t>(1 - connection->side_of(*this))]->id();
}

awaitable<SimulatedHost::ConnectionPointer> SimulatedHost::connect(PeerId peer) {
    if (peer == id_) throw Error(ErrorKind::unreachable, "this is the peer itself", peer.short_name());
    for (;;) {
        co_await while_stopped();
        if (gone_) throw Error(ErrorKind::cancelled, "the network has been shut down");
        if (const auto known = connections_.find(peer); known != connections_.end()) co_return known->second;
        const auto other = dialling_.find(peer);
        if (other == dialling_.end()) break;
        // Somebody here is dialling this peer already. If that fails we fail; if it is given up, it is our
        // turn.
        const std::shared_ptr<Dialling> dialling = other->second;
        while (!dialling->over) co_await dialling->ended.wait();
        if (dialling->error && !is_cancellation(dialling->error)) std::rethrow_exception(dialling->error);
    }
    const auto dialling = std::make_shared<Dialling>(simulation().executor());
    dialling_[peer] = dialling;
    ConnectionPointer connection;
    try {
        connection = co_await connect_to_any(peer);
    } catch (...) {
        dialling->error = std::current_exception();
    }
    dialling->over = true;
    dialling_.erase(peer);
    dialling->ended.notify();
    if (dialling->error) std::rethrow_exception(dialling->error);
    co_return connection;
}

awaitable<SimulatedHost::ConnectionPointer> SimulatedHost::connect_to_any(PeerId peer) {
    std::vector<net::Endpoint> endpoints;
    if (resolver_) {
        awaitable<std::vector<net::Endpoint>> resolving = resolver_(peer);
        endpoints = co_await std::move(resolving);
    } else if (const auto known = internet_.hosts_.find(peer); known != internet_.hosts_.end()) {
        if (known->second->settings().accept_connections) endpoints.push_back(known->second->endpoint());
    }
    if (endpoints.empty())
        throw Error(ErrorKind::unreachable, "no address is known, and it has not connected to us",
                    peer.short_name());
    std::string causes;
    for (const net::Endpoint& endpoint : endpoints) {
        try {
            ConnectionPointer connection = co_await dial_endpoint(endpoint);
            const auto side = static_cast<std::size_t>(1 - connection->side_of(*this));
            if (connection->hosts[side]->id() == peer) co_return connection;
            causes += endpoint.host + ": another peer answers; ";
        } catch (const Error& error) {
            if (error.kind() == ErrorKind::cancelled) throw;
            causes += error.what() + std::string("; ");
        }
    }
    throw Error(ErrorKind::unreachable, causes, peer.short_name());
}

/// Waits until the machine behind an address answers. Throws if it does not.
awaitable<std::shared_ptr<SimulatedHost>> SimulatedHost::reach(net::Endpoint endpoint) {
    const std::string name = endpoint.host + ":" + std::to_string(endpoint.port);
    for (;;) {
        co_await while_stopped();
        const auto target = internet_.find_endpoint(endpoint);
        if (!target) throw Error(ErrorKind::unreachable, name + ": no such host");
        if (target.get() == this) throw Error(ErrorKind::unreachable, name + " is this peer itself");
        if (internet_.is_reachable(id_, target->id())) {
            if (target->crashed() || target->gone() || !target->settings().accept_connections)
                throw Error(ErrorKind::unreachable, name + ": connection refused");
            if (!target->frozen()) co_return target;
        }
        co_await internet_.topology_changed().wait();
    }
}

awaitable<SimulatedHost::ConnectionPointer> SimulatedHost::dial_endpoint(net::Endpoint endpoint) {
    co_await while_stopped();
    const TimePoint deadline = clock_.now() + settings_.dial_timeout;
    // One round trip for TCP and one for TLS.
    Duration round_trip = 2 * settings_.latency;
    if (const auto target = internet_.find_endpoint(endpoint))
        round_trip += 2 * (target->settings().latency + between_regions(*target));
    co_await clock_.sleep_for(2 * round_trip);
    std::shared_ptr<SimulatedHost> target;
    const std::string name = endpoint.host + ":" + std::to_string(endpoint.port);
    try {
        target = co_await with_deadline(clock_, deadline, reach(std::move(endpoint)), "dialling " + name);
    } catch (const Error& error) {
        if (error.kind() != ErrorKind::timed_out) throw;
        const std::string patience = fmt::format("{:g}", seconds(settings_.dial_timeout));
        throw Error(ErrorKind::unreachable, name + ": no answer within " + patience + " s");
    }
    if (gone_) throw Error(ErrorKind::cancelled, "the network has been shut down");
    if (const auto known = connections_.find(target->id()); known != connections_.end())
        co_return known->second;
    co_return establish(target);
}

Duration SimulatedHost::between_regions(const SimulatedHost& other) const {
    const auto& latency = internet_settings().region_latency;
    if (latency.empty()) return Duration{0};
    return latency.at(settings_.region).at(other.settings_.region);
}

SimulatedHost::ConnectionPointer SimulatedHost::establish(const std::shared_ptr<SimulatedHost>& other) {
    auto connection = std::make_shared<Connection>();
    connection->number = internet_.connections_made_++;
    connection->hosts = {shared_from_this(), other};
    connection->one_way = settings_.latency + other->settings().latency + between_regions(*other);
    simulation().trace().note(clock_.now(), "connect", std::hash<PeerId>()(id_),
                              std::hash<PeerId>()(other->id()));
    come_up(connection, other->id());
    other->come_up(connection, id_);
    return connection;
}

void SimulatedHost::come_up(const ConnectionPointer& connection, const PeerId& peer) {
    // The peer may have lost, and forgotten, a connection that we still believe in.
    if (const auto old = connections_.find(peer); old != connections_.end()) {
        const ConnectionPointer previous = old->second;
        lose(previous, "the other side has connected anew", false);
    }
    connections_[peer] = connection;
    tell_observers(peer, true, "");
}

void SimulatedHost::lose(const ConnectionPointer& connection, const std::string& cause, bool notify) {
    const int side = connection->side_of(*this);
    const auto here = static_cast<std::size_t>(side);
    if (!connection->up[here]) return;
    const PeerId peer = connection->hosts[1 - here]->id();
    simulation().trace().note(clock_.now(), "lose", std::hash<PeerId>()(id_), std::hash<PeerId>()(peer));
    if (notify)
        propagate(connection, 1 - side,
                  {Frame::Kind::closed, 0, 0, {}, "it has closed the connection: " + cause});
    connection->up[here] = false;
    connection->held[here].clear();
    connection->passed[here].clear();
    connections_.erase(peer);
    const auto error = std::make_exception_ptr(Error(ErrorKind::connection_lost, cause, peer.short_name()));
    for (const auto& [number, stream] : std::exchange(connection->streams[here], {}))
        stream->fail(error, true);
    tell_observers(peer, false, cause);
}

std::vector<net::ConnectionInfo> SimulatedHost::connections() const {
    std::vector<net::ConnectionInfo> result;
    result.reserve(connections_.size());
    for (const auto& [peer, connection] : connections_) {
        const auto here = static_cast<std::size_t>(connection->side_of(*this));
        const net::Endpoint& remote = connection->hosts[1 - here]->endpoint();
        net::ConnectionInfo info;
        info.peer = peer;
        info.remote_address = remote.host;  // all have the same port
        info.dialled_by_us = here == 0;
        info.bytes_sent = info.bytes_delivered = connection->bytes_sent[here];
        info.bytes_received = connection->bytes_arrived[here];
        info.round_trip = 2 * connection->one_way;
        result.push_back(std::move(info));
    }
    return result;
}

std::shared_ptr<void> SimulatedHost::observe(net::Network::Observer observer) {
    observers_.remove_if([](const auto& other) { return other.expired(); });
    auto kept = std::make_shared<net::Network::Observer>(std::move(observer));
    observers_.push_back(kept);
    return kept;
}

void SimulatedHost::tell_observers(const PeerId& peer, bool connected, const std::string& cause) {
    observers_.remove_if([](const auto& observer) { return observer.expired(); });
    const auto observers = observers_;  // one may come or go while they are told
    for (const auto& weak : observers)
        if (const auto observer = weak.lock()) (*observer)(peer, connected, cause);
}

void SimulatedHost::disconnect(const PeerId& peer, const std::string& reason) {
    if (const auto known = connections_.find(peer); known != connections_.end()) {
        const ConnectionPointer connection = known->second;
        lose(connection, reason, true);
    }
}

// --- faults
// -----------------------------------------------------------------------------------------------------

void SimulatedHost::crash() {
    // The kernel of a killed process closes its sockets; the process itself knows of nothing.
    for (const auto& [peer, connection] : connections_)
        propagate(connection, 1 - connection->side_of(*this),
                  {Frame::Kind::closed, 0, 0, {}, "connection reset by peer"});
    crashed_ = true;
    clock_.freeze();
    senders_ = {};
    downlink_ = {};
}

void SimulatedHost::freeze() {
    if (stopped()) return;
    frozen_ = true;
    ++stops_;
    clock_.freeze();
    for (const auto& [peer, connection] : connections_) {
        const auto other = connection->hosts[static_cast<std::size_t>(1 - connection->side_of(*this))];
        other->expect_silence(id_);
    }
}

void SimulatedHost::thaw() {
    if (!frozen_ || crashed_) return;
    frozen_ = false;
    clock_.thaw();
    resumed_.notify();
    release_held();
    pump();
    for (const auto& [peer, connection] : connections_) {
        const SimulatedHost& other =
            *connection->hosts[static_cast<std::size_t>(1 - connection->side_of(*this))];
        if (other.stopped() || !internet_.is_reachable(id_, peer)) expect_silence(peer);
    }
}

void SimulatedHost::cut(const PeerId& peer) {
    if (const auto known = connections_.find(peer); known != connections_.end()) {
        const ConnectionPointer connection = known->second;
        lose(connection, "connection reset", false);
    }
}

void SimulatedHost::expect_silence(const PeerId& peer) {
    const auto known = connections_.find(peer);
    if (known == connections_.end()) return;
    const std::weak_ptr<Connection> watched = known->second;
    const TimePoint noticed = clock_.now() + settings_.peer_timeout;
    const auto stops =
        known->second->hosts[static_cast<std::size_t>(1 - known->second->side_of(*this))]->stops_;
    const auto partitions = internet_.partitions_;
    internet_.simulation().timeline()->at(
        noticed, [self = shared_from_this(), watched, peer, stops, partitions] {
            const auto connection = watched.lock();
            if (!connection || self->stopped() || self->gone_) return;
            const SimulatedHost& other =
                *connection->hosts[static_cast<std::size_t>(1 - connection->side_of(*self))];
            // If it was heard of in between, a later silence has a check of its own.
            const bool still_stopped = other.stopped() && other.stops_ == stops;
            const bool still_apart =
                !self->internet_.is_reachable(self->id_, peer) && self->internet_.partitions_ == partitions;
            const bool half_open = !connection->up[static_cast<std::size_t>(connection->side_of(other))];
            if (!still_stopped && !still_apart && !half_open) return;
            const std::string patience = fmt::format("{:g}", seconds(self->settings_.peer_timeout));
            self->lose(connection, "nothing was heard of it for " + patience + " s", true);
        });
}

void SimulatedHost::leave() {
    if (gone_) return;
    if (!crashed_) {
        const auto connections = connections_;
        for (const auto& [peer, connection] : connections) lose(connection, "the peer has left", true);
    }
    for (const auto& [peer, connection] : std::exchange(connections_, {})) {
        // Streams and connections keep each other alive.
        const auto here = static_cast<std::size_t>(connection->side_of(*this));
        connection->up[here] = false;
        connection->streams[here].clear();
        connection->held[here].clear();
        connection->passed[here].clear();
    }
    gone_ = true;
    handlers_.clear();
    observers_.clear();
    tasks_.cancel();
    senders_ = {};
    downlink_ = {};
    resolver_ = nullptr;
}

}  // namespace shoal::sim
