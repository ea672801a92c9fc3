// The real network's inside: connections by peer, services, observers, and the dialling that callers share.
//
// A peer may be connected more than once (both sides dialled at the same moment). Both connections serve; new
// streams take the one that the peer with the lower PeerId dialled, of those the newest, so both sides agree.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "shoal/base/async.h"
#include "shoal/base/log.h"
#include "shoal/net/dialer.h"
#include "shoal/net/lane_table.h"
#include "shoal/net/listener.h"
#include "shoal/net/multiplexer.h"
#include "shoal/net/tcp_network.h"

namespace shoal::net {

class TcpNode : public std::enable_shared_from_this<TcpNode> {
  public:
    /// Binds the port. Throws as make_tcp_network.
    TcpNode(asio::any_io_executor executor, Clock& clock, KeyPair key, NetworkSettings settings, Log log);
    /// Begins to accept. Once, after construction.
    void start();
    void stop_listening();
    /// Ends all tasks at once, without goodbye. For destruction.
    void stop();
    /// Stops listening, says goodbye everywhere, waits for all tasks.
    awaitable<void> shut_down();

    awaitable<StreamPointer> open(PeerId peer, std::string service);
    awaitable<PeerId> dial(Endpoint endpoint);
    awaitable<PeerId> dial_other(Endpoint endpoint);
    void serve(std::string service, StreamHandler handler, Audience audience);
    std::vector<ConnectionInfo> connections() const;
    bool is_connected(const PeerId& peer) const { return preferred(peer) != nullptr; }
    std::shared_ptr<void> observe(Network::Observer observer);
    void disconnect(const PeerId& peer, const std::string& reason);
    void mark_useful(const PeerId& peer);
    void set_resolver(AddressResolver resolver) { resolver_ = std::move(resolver); }

    const PeerId& self() const { return context_->self; }
    const asio::any_io_executor& executor() const { return executor_; }
    std::uint16_t listen_port() const { return listener_ ? listener_->port() : 0; }

  private:
    using ConnectionPointer = std::shared_ptr<Multiplexer>;
    struct Connection {
        Connection(ConnectionPointer m, std::uint64_t i, bool o, std::uint64_t n)
            : multiplexer(std::move(m)), instance(i), observer(o), number(n) {}
        ConnectionPointer multiplexer;
        std::uint64_t instance;  // of the process at the other end
        bool observer;           // it has not said that it agrees on our settings
        std::uint64_t number;    // grows with each connection
    };
    struct Service {
        StreamHandler handler;
        Audience audience;
    };
    /// One dialling of a peer, shared by all who want to open a stream to it.
    struct Dialling {
        explicit Dialling(const asio::any_io_executor& executor) : changed(executor) {}
        bool ended = false;
        std::optional<Error> failure;
        Signal changed;
    };

    ConnectionPointer preferred(const PeerId& peer) const;
    std::size_t connection_count() const;
    std::optional<std::string> admit(const PeerId& peer, const Greeting& theirs);
    /// Drops the stranger who has been connected longest. False if there is none.
    bool displace_stranger();
    /// A connection that was accepted: a link by itself, or one lane of one.
    void take_in(Link link);
    awaitable<void> drop_incomplete(LaneTable::Ticket ticket);
    ConnectionPointer adopt(Link link);
    void drop_older_instances(const PeerId& peer, std::uint64_t instance);
    void remove(const ConnectionPointer& connection, const std::string& cause);
    awaitable<void> run_connection(ConnectionPointer connection, Bytes already_read);
    awaitable<void> dial_peer(PeerId peer, std::shared_ptr<Dialling> dialling);
    awaitable<void> find_and_dial(PeerId peer);
    bool is_observer(const ConnectionPointer& connection) const;
    StreamPointer open_on(const ConnectionPointer& connection, const std::string& service);
    void accept_stream(const StreamPointer& stream, const std::string& service, bool observer);
    awaitable<void> run_handler(StreamHandler handler, StreamPointer stream, std::string service);
    bool dialled_already(const PeerId& peer, std::uint64_t instance) const;
    void tell(const PeerId& peer, bool connected, const std::string& cause);
    void require_open() const;
    Terms terms_with(const Greeting& theirs) const;

    const asio::any_io_executor executor_;
    Clock& clock_;
    const NetworkSettings settings_;
    const Log log_;
    std::shared_ptr<LinkContext> context_;
    std::shared_ptr<Listener> listener_;
    AddressResolver resolver_;
    std::unordered_map<std::string, Service> services_;
    std::map<PeerId, std::vector<Connection>> connections_;  // no empty vectors; oldest first
    std::map<PeerId, std::shared_ptr<Dialling>> diallings_;
    std::vector<std::weak_ptr<Network::Observer>> observers_;
    std::set<PeerId> up_;  // peers that the observers believe connected
    LaneTable lanes_;
    bool closed_ = false;
    std::shared_ptr<MemoryBudget> budget_;
    std::uint64_t next_number_ = 0;
    std::set<PeerId> useful_;            // connected or not
    std::deque<PeerId> useful_by_time_;  // the same, the oldest first
    Signal connection_removed_;
    TaskGroup links_;     // listening, dialling, connections
    TaskGroup handlers_;  // services at work
};

}  // namespace shoal::net
