#include "shoal/net/tcp_node.h"

#include <algorithm>
#include <openssl/rand.h>
#include <utility>

namespace shoal::net {
namespace {

/// More connections from one process than this are a mistake or an attack (two come from simultaneous
/// dialling).
constexpr std::size_t kConnectionsPerPeer = 4;
/// Peers that were of use and have gone, of which this is remembered.
constexpr std::size_t kMaximumUseful = 4096;

std::uint64_t random_instance() {
    std::uint64_t value = 0;
    if (RAND_bytes(reinterpret_cast<unsigned char*>(&value), sizeof value) != 1)
        throw Error(ErrorKind::system, "OpenSSL could not draw random bytes");
    return value;
}

/// A stream to an observer: it is told what members are told, and what it says is not heard.
class UnheardStream final : public Stream {
  public:
    explicit UnheardStream(StreamPointer inner) : inner_(std::move(inner)) {}
    const PeerId& peer() const override { return inner_->peer(); }
    awaitable<void> write(ByteView control, ByteView payload) override {
        return inner_->write(control, payload);
    }
    awaitable<std::optional<Message>> read() override {
        throw Error(ErrorKind::refused, "has not agreed on the run's settings, so it may only listen",
                    peer().short_name());
        co_return std::nullopt;
    }
    void finish() override { inner_->finish(); }
    void reset(const std::string& reason) override { inner_->reset(reason); }

  private:
    const StreamPointer inner_;
};

Greeting make_greeting(const NetworkSettings& settings) {
    Greeting greeting;
    greeting.agreed = settings.agreed;
    greeting.agreed_hash = hash_of(settings.agreed);
    greeting.instance = random_instance();
    greeting.stream_window = std::clamp(settings.stream_window, kMinimumWindow, kMaximumWindow);
    greeting.maximum_streams = settings.maximum_streams;
    return greeting;
}

}  // namespace

TcpNode::TcpNode(asio::any_io_executor executor, Clock& clock, KeyPair key, NetworkSettings settings, Log log)
    : executor_(std::move(executor)),
      clock_(clock),
      settings_(std::move(settings)),
      log_(std::move(log)),
      budget_(std::make_shared<MemoryBudget>(settings_.maximum_unread > 0 ? settings_.maximum_unread
                                                                          : default_budget())),
      connection_removed_(executor_),
      links_(executor_),
      handlers_(executor_) {
    Greeting greeting = make_greeting(settings_);
    if (settings_.accept_connections) {
        listener_ =
            std::make_shared<Listener>(executor_, clock_, settings_.listen_host, settings_.listen_port, log_);
        greeting.listen_port = listener_->port();
    }
    serialise(greeting);  // throws if the settings are too long
    context_ = std::make_shared<LinkContext>(std::move(key), settings_.encryption, std::move(greeting),
                                             settings_.far_connections, settings_.far_round_trip);
}

void TcpNode::start() {
    if (!listener_) return;
    const std::weak_ptr<TcpNode> weak = weak_from_this();
    PeerAdmission admission = [weak](const PeerId& peer,
                                     const Greeting& theirs) -> std::optional<std::string> {
        const auto self = weak.lock();
        return self ? self->admit(peer, theirs) : "is shutting down";
    };
    auto on_link = [weak](Link link) {
        if (const auto self = weak.lock()) self->take_in(std::move(link));
    };
    auto reception = std::make_shared<const Reception>(context_, std::move(admission), std::move(on_link),
                                                       settings_.dial_timeout);
    links_.spawn(listener_->run(links_, std::move(reception)));
}

void TcpNode::stop_listening() {
    closed_ = true;
    if (listener_) listener_->close();
}

void TcpNode::stop() {
    stop_listening();
    links_.cancel();
    handlers_.cancel();
    // Observers and handlers may hold whoever owns the network.
    services_.clear();
    observers_.clear();
    resolver_ = nullptr;
}

awaitable<void> TcpNode::shut_down() {
    const auto self = shared_from_this();
    if (!closed_) {
        stop_listening();
        std::vector<ConnectionPointer> all;
        for (const auto& [peer, connections] : connections_)
            for (const Connection& connection : connections) all.push_back(connection.multiplexer);
        for (const ConnectionPointer& connection : all) connection->close("the peer shuts down");
        for (const auto& [peer, dialling] : diallings_) dialling->changed.notify();
        handlers_.cancel();
        co_await handlers_.settle();
        // Connections end by themselves, at the latest when their goodbye has timed out.
        while (!connections_.empty()) co_await connection_removed_.wait();
    }
    stop();
    co_await handlers_.settle();
    co_await links_.settle();
}

void TcpNode::require_open() const {
    if (closed_) throw Error(ErrorKind::cancelled, "the network is shut down");
}

// --- Connections.

TcpNode::ConnectionPointer TcpNode::preferred(const PeerId& peer) const {
    const auto found = connections_.find(peer);
    if (found == connections_.end()) return nullptr;
    const bool ours_first = self() < peer;
    ConnectionPointer best;
    for (const Connection& connection : found->second) {
        if (!connection.multiplexer->alive()) continue;
        const bool by_lower = connection.multiplexer->dialled_by_us() == ours_first;
        if (!best || by_lower || (best->dialled_by_us() != ours_first)) best = connection.multiplexer;
    }
    return best;
}

std::size_t TcpNode::connection_count() const {
    std::size_t count = 0;
    for (const auto& [peer, connections] : connections_) count += connections.size();
    return count;
}

void TcpNode::mark_useful(const PeerId& peer) {
    if (const auto found = connections_.find(peer); found != connections_.end())
        for (const Connection& connection : found->second) connection.multiplexer->mark_useful();
    if (!useful_.insert(peer).second) return;
    useful_by_time_.push_back(peer);
    if (useful_by_time_.size() <= kMaximumUseful) return;
    useful_.erase(useful_by_time_.front());
    useful_by_time_.pop_front();
}

bool TcpNode::displace_stranger() {
    const Connection* oldest = nullptr;
    for (const auto& [peer, connections] : connections_)
        for (const Connection& connection : connections)
            if (connection.multiplexer->alive() && !connection.multiplexer->useful() &&
                (!oldest || connection.number < oldest->number))
                oldest = &connection;
    if (!oldest) return false;
    oldest->multiplexer->close("the place is needed for a peer that has been of use");
    return true;
}

std::optional<std::string> TcpNode::admit(const PeerId& peer, const Greeting& theirs) {
    if (closed_) return "is shutting down";
    if (peer == self()) return "is this peer itself";
    const auto same = [&theirs](const Connection& connection) {
        return connection.instance == theirs.instance;
    };
    if (const auto found = connections_.find(peer);
        found != connections_.end() && std::count_if(found->second.begin(), found->second.end(), same) >=
                                           static_cast<std::ptrdiff_t>(kConnectionsPerPeer))
        return "has too many connections to the same peer";
    if (connection_count() >= settings_.maximum_connections &&
        !(useful_.contains(peer) && displace_stranger()))
        return "is full: " + std::to_string(settings_.maximum_connections) + " connections";
    return std::nullopt;
}

Terms TcpNode::terms_with(const Greeting& theirs) const {
    Terms terms;
    terms.our_window = context_->greeting.stream_window;
    terms.their_window = theirs.stream_window;
    terms.our_streams = settings_.maximum_streams;
    terms.their_streams = theirs.maximum_streams;
    terms.ping_interval = settings_.ping_interval;
    terms.peer_timeout = settings_.peer_timeout;
    terms.budget = budget_;
    return terms;
}

void TcpNode::take_in(Link link) {
    if (closed_) return;
    if (link.agreement.theirs.lane.lanes == 1) {
        adopt(std::move(link));
        return;
    }
    LaneTable::Outcome outcome = lanes_.add(std::move(link));
    if (outcome.begun) links_.spawn(drop_incomplete(*outcome.begun));
    if (outcome.complete) adopt(join_lanes(executor_, std::move(*outcome.complete)));
}

awaitable<void> TcpNode::drop_incomplete(LaneTable::Ticket ticket) {
    const auto self = shared_from_this();
    co_await clock_.sleep_for(settings_.dial_timeout);
    lanes_.drop(ticket);
}

TcpNode::ConnectionPointer TcpNode::adopt(Link link) {
    if (closed_) return nullptr;
    const PeerId peer = link.peer;
    const Greeting& theirs = link.agreement.theirs;
    drop_older_instances(peer, theirs.instance);
    const std::weak_ptr<TcpNode> weak = weak_from_this();
    // Where there is nothing to agree on, nobody has failed to.
    const bool observer = theirs.observer() && !context_->greeting.observer();
    Multiplexer::Acceptor acceptor = [weak, observer](StreamPointer stream, std::string service) {
        if (const auto self = weak.lock()) self->accept_stream(stream, service, observer);
    };
    Terms terms = terms_with(theirs);
    terms.useful = useful_.contains(peer);
    auto connection =
        std::make_shared<Multiplexer>(executor_, clock_, std::move(link.pipe), peer, link.dialled_by_us,
                                      std::move(terms), std::move(acceptor));
    connections_[peer].emplace_back(connection, theirs.instance, observer, next_number_++);
    links_.spawn(run_connection(connection, std::move(link.agreement.already_read)));
    if (const auto dialling = diallings_.find(peer); dialling != diallings_.end())
        dialling->second->changed.notify();
    log_.debug("connected with " + peer.short_name() + " at " + connection->info().remote_address);
    if (up_.insert(peer).second) tell(peer, true, "");
    return connection;
}

/// A peer that was restarted is not at the other end of its old connections any more, even if they look
/// alive.
void TcpNode::drop_older_instances(const PeerId& peer, std::uint64_t instance) {
    const auto found = connections_.find(peer);
    if (found == connections_.end()) return;
    std::vector<ConnectionPointer> old;
    for (const Connection& connection : found->second)
        if (connection.instance != instance) old.push_back(connection.multiplexer);
    for (const ConnectionPointer& connection : old)
        connection->close(
            "a newer process with the same key has connected; if this one was not meant to end, a peer's "
            "folder was copied");
}

awaitable<void> TcpNode::run_connection(ConnectionPointer connection, Bytes already_read) {
    const auto self = shared_from_this();
    std::string cause = "the network was stopped";
    try {
        cause = co_await connection->run(std::move(already_read));
    } catch (const std::exception&) {
        // Cancelled: the node is being stopped.
    }
    remove(connection, cause);
}

void TcpNode::remove(const ConnectionPointer& connection, const std::string& cause) {
    const PeerId peer = connection->peer();
    const auto found = connections_.find(peer);
    if (found == connections_.end()) return;
    std::erase_if(found->second, [&](const Connection& other) { return other.multiplexer == connection; });
    if (found->second.empty()) connections_.erase(found);
    log_.debug("connection with " + peer.short_name() + " ended: " + cause);
    connection_removed_.notify();
    if (!is_connected(peer) && up_.erase(peer) > 0) tell(peer, false, cause);
}

std::vector<ConnectionInfo> TcpNode::connections() const {
    std::vector<ConnectionInfo> result;
    for (const auto& [peer, connections] : connections_)
        for (const Connection& connection : connections)
            if (connection.multiplexer->alive()) result.push_back(connection.multiplexer->info());
    return result;
}

void TcpNode::disconnect(const PeerId& peer, const std::string& reason) {
    const auto found = connections_.find(peer);
    if (found == connections_.end()) return;
    const std::vector<Connection> all = found->second;
    for (const Connection& connection : all) connection.multiplexer->close(reason);
}

bool TcpNode::is_observer(const ConnectionPointer& connection) const {
    const auto found = connections_.find(connection->peer());
    if (found == connections_.end()) return false;
    const auto same = [&](const Connection& other) { return other.multiplexer == connection; };
    const auto it = std::find_if(found->second.begin(), found->second.end(), same);
    return it != found->second.end() && it->observer;
}

StreamPointer TcpNode::open_on(const ConnectionPointer& connection, const std::string& service) {
    StreamPointer stream = connection->open(service);
    const auto own = services_.find(service);
    const bool of_members = own != services_.end() && own->second.audience == Audience::members;
    if (of_members && is_observer(connection)) return std::make_shared<UnheardStream>(std::move(stream));
    return stream;
}

// --- Dialling.

awaitable<StreamPointer> TcpNode::open(PeerId peer, std::string service) {
    const auto self_pointer = shared_from_this();
    for (;;) {
        require_open();
        if (peer == self()) throw Error(ErrorKind::invalid_argument, "a peer opens no stream to itself");
        if (const ConnectionPointer connection = preferred(peer)) co_return open_on(connection, service);
        std::shared_ptr<Dialling>& entry = diallings_[peer];
        if (!entry) {
            entry = std::make_shared<Dialling>(executor_);
            links_.spawn(dial_peer(peer, entry));
        }
        const std::shared_ptr<Dialling> dialling = entry;
        while (!dialling->ended && !closed_ && !preferred(peer)) co_await dialling->changed.wait();
        require_open();
        if (dialling->failure && !preferred(peer)) throw *dialling->failure;
    }
}

awaitable<void> TcpNode::dial_peer(PeerId peer, std::shared_ptr<Dialling> dialling) {
    const auto self_pointer = shared_from_this();
    try {
        co_await find_and_dial(peer);
    } catch (const Error& error) {
        dialling->failure = Error(ErrorKind::unreachable, std::string("cannot be reached: ") + error.what(),
                                  peer.short_name());
    } catch (const std::exception& error) {
        dialling->failure = Error(ErrorKind::cancelled, error.what(), peer.short_name());
    }
    diallings_.erase(peer);
    dialling->ended = true;
    dialling->changed.notify();
}

awaitable<void> TcpNode::find_and_dial(PeerId peer) {
    if (!resolver_) throw Error(ErrorKind::unreachable, "there is no way to find its address");
    const AddressResolver resolver = resolver_;
    awaitable<std::vector<Endpoint>> finding = resolver(peer);
    std::vector<Endpoint> endpoints = co_await with_deadline(clock_, clock_.now() + settings_.dial_timeout,
                                                             std::move(finding), "looking up its address");
    if (endpoints.empty()) {
        throw Error(
            ErrorKind::unreachable,
            "no address of it is known (it is gone, or accepts no connections and has not called us)");
    }
    Link link = co_await dial_first(context_, clock_, std::move(endpoints), peer, settings_.dial_timeout);
    adopt(std::move(link));
}

awaitable<PeerId> TcpNode::dial(Endpoint endpoint) {
    try {
        co_return co_await dial_other(std::move(endpoint));
    } catch (const OwnAddress&) {
        // Whoever lists all bootstrap addresses lists its own, too.
    }
    co_return self();
}

awaitable<PeerId> TcpNode::dial_other(Endpoint endpoint) {
    const auto self_pointer = shared_from_this();
    require_open();
    std::vector<Endpoint> endpoints(1, endpoint);
    Link link =
        co_await dial_first(context_, clock_, std::move(endpoints), std::nullopt, settings_.dial_timeout);
    require_open();
    const PeerId peer = link.peer;
    // A second connection in the same direction is of no use. One that the peer dialled does not count: if
    // both sides dropped the one that they dialled, none would remain.
    if (!dialled_already(peer, link.agreement.theirs.instance)) adopt(std::move(link));
    co_return peer;
}

bool TcpNode::dialled_already(const PeerId& peer, std::uint64_t instance) const {
    const auto found = connections_.find(peer);
    if (found == connections_.end()) return false;
    const auto is_same = [&](const Connection& connection) {
        return connection.instance == instance && connection.multiplexer->alive() &&
               connection.multiplexer->dialled_by_us();
    };
    return std::any_of(found->second.begin(), found->second.end(), is_same);
}

// --- Services.

void TcpNode::serve(std::string service, StreamHandler handler, Audience audience) {
    if (handler) {
        services_.insert_or_assign(std::move(service), Service(std::move(handler), audience));
    } else {
        services_.erase(service);
    }
}

void TcpNode::accept_stream(const StreamPointer& stream, const std::string& service, bool observer) {
    const auto found = services_.find(service);
    if (closed_ || found == services_.end()) {
        stream->reset("there is no service '" + printable(as_bytes(service)) + "' here");
        return;
    }
    if (observer && found->second.audience == Audience::members) {
        stream->reset("the service '" + service + "' is for peers that have agreed on the run's settings");
        return;
    }
    handlers_.spawn(run_handler(found->second.handler, stream, service));
}

awaitable<void> TcpNode::run_handler(StreamHandler handler, StreamPointer stream, std::string service) {
    const auto self_pointer = shared_from_this();
    try {
        co_await handler(stream);
    } catch (...) {
        const std::exception_ptr error = std::current_exception();
        const std::string text = is_cancellation(error) ? "the service stopped" : describe(error);
        stream->reset(text);
        log_.debug("service " + service + " for " + stream->peer().short_name() + " ended: " + text);
    }
}

// --- Observers.

std::shared_ptr<void> TcpNode::observe(Network::Observer observer) {
    // While connections neither come nor go, this is the only place that forgets those that ended.
    std::erase_if(observers_, [](const auto& weak) { return weak.expired(); });
    auto shared = std::make_shared<Network::Observer>(std::move(observer));
    observers_.push_back(shared);
    return shared;
}

void TcpNode::tell(const PeerId& peer, bool connected, const std::string& cause) {
    std::erase_if(observers_, [](const auto& weak) { return weak.expired(); });
    const auto observers = observers_;  // one may add or end others
    for (const auto& weak : observers) {
        const auto observer = weak.lock();
        if (!observer) continue;
        try {
            (*observer)(peer, connected, cause);
        } catch (const std::exception& error) {
            log_.error(std::string("an observer of connections failed: ") + error.what());
        }
    }
}

}  // namespace shoal::net
