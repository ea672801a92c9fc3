// Inside the simulated Internet: one machine with its uplink and downlink, connections and services.
#pragma once

#include <deque>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "shoal/sim/fair_queue.h"
#include "shoal/sim/simulated_connection.h"
#include "shoal/sim/simulated_network.h"

namespace shoal::sim {

/// Made by SimulatedInternet::join, which hands out a facade that calls leave() at its end.
class SimulatedHost : public std::enable_shared_from_this<SimulatedHost> {
  public:
    SimulatedHost(SimulatedInternet& internet, const PeerId& id, HostSettings settings,
                  net::Endpoint endpoint);

    // --- what net::Network asks for ---------------------------------------------------------------------
    awaitable<net::StreamPointer> open(PeerId peer, std::string service);
    awaitable<PeerId> dial(net::Endpoint endpoint);
    void serve(std::string service, net::StreamHandler handler);
    std::vector<net::ConnectionInfo> connections() const;
    bool is_connected(const PeerId& peer) const { return connections_.contains(peer); }
    std::shared_ptr<void> observe(net::Network::Observer observer);
    void disconnect(const PeerId& peer, const std::string& reason);
    void set_resolver(net::AddressResolver resolver) { resolver_ = std::move(resolver); }

    // --- what the streams ask for -----------------------------------------------------------------------
    /// Waits while the machine is frozen; for ever once it has crashed.
    awaitable<void> while_stopped();
    /// The stream has something in its outbox.
    void send(const std::shared_ptr<StreamEnd>& stream);
    /// Sends a small frame past the queue of the uplink.
    void send_at_once(Connection& connection, int from_side, Frame frame);
    void forget_if_ended(const std::shared_ptr<StreamEnd>& stream);

    // --- faults -----------------------------------------------------------------------------------------
    void crash();
    void freeze();
    void thaw();
    void cut(const PeerId& peer);
    /// All connections end, handlers are cancelled, dialling is refused.
    void leave();
    /// Delivers what was held back and has become deliverable.
    void release_held();
    /// The way to a peer has become silent: the connection to it is lost unless that changes in time.
    void expect_silence(const PeerId& peer);
    struct Hook {
        bool counts_bytes = false;
        std::uint64_t remaining = 0;
        std::string service;
        std::function<void()> action;
    };
    void add_hook(Hook hook) { hooks_.push_back(std::move(hook)); }
    void set_rates(double upload_rate, double download_rate);

    bool stopped() const { return crashed_ || frozen_; }
    bool crashed() const { return crashed_; }
    bool frozen() const { return frozen_; }
    bool gone() const { return gone_; }
    const PeerId& id() const { return id_; }
    const net::Endpoint& endpoint() const { return endpoint_; }
    const HostSettings& settings() const { return settings_; }
    const Traffic& traffic() const { return traffic_; }
    VirtualClock& clock() { return clock_; }
    SimulatedInternet& internet() { return internet_; }
    const InternetSettings& internet_settings() const { return internet_.settings(); }
    Simulation& simulation() { return internet_.simulation(); }

  private:
    using ConnectionPointer = std::shared_ptr<Connection>;
    struct Dialling {
        explicit Dialling(const asio::any_io_executor& executor) : ended(executor) {}
        Signal ended;
        bool over = false;
        std::exception_ptr error;
    };

    awaitable<ConnectionPointer> connect(PeerId peer);
    awaitable<ConnectionPointer> connect_to_any(PeerId peer);
    awaitable<ConnectionPointer> dial_endpoint(net::Endpoint endpoint);
    awaitable<std::shared_ptr<SimulatedHost>> reach(net::Endpoint endpoint);
    Duration between_regions(const SimulatedHost& other) const;
    ConnectionPointer establish(const std::shared_ptr<SimulatedHost>& other);
    void come_up(const ConnectionPointer& connection, const PeerId& peer);
    /// This side gives the connection up. `notify`: the other side is told when it can be.
    void lose(const ConnectionPointer& connection, const std::string& cause, bool notify);
    void tell_observers(const PeerId& peer, bool connected, const std::string& cause);

    void queue(const std::shared_ptr<StreamEnd>& stream);
    bool has_room(const StreamEnd& stream) const;
    void pump();
    Frame take_segment(StreamEnd& stream);
    std::uint64_t segment_limit(const StreamEnd& stream) const;
    void depart(const std::shared_ptr<StreamEnd>& stream, Frame frame);
    void run_hooks(const std::string& service, Frame::Kind kind, std::size_t bytes);
    void propagate(const ConnectionPointer& connection, int to_side, Frame frame);
    bool is_held(const Connection& connection) const;
    void arrive(const ConnectionPointer& connection, int side, Frame frame);
    void receive_next();
    void deliver(const ConnectionPointer& connection, int side, Frame frame);
    void has_arrived(const ConnectionPointer& connection, int side, std::uint64_t number, std::size_t bytes);
    void take(const ConnectionPointer& connection, int side, Frame frame);
    void accept(const ConnectionPointer& connection, int side, const Frame& frame);
    void deliver_to_stream(const ConnectionPointer& connection, const std::shared_ptr<StreamEnd>& stream,
                           Frame frame);
    awaitable<void> run_handler(net::StreamHandler handler, net::StreamPointer stream);

    SimulatedInternet& internet_;
    PeerId id_;
    HostSettings settings_;
    net::Endpoint endpoint_;
    VirtualClock& clock_;
    Traffic traffic_;
    bool crashed_ = false;
    bool frozen_ = false;
    bool gone_ = false;
    std::uint64_t stops_ = 0;  // how often it was frozen
    Signal resumed_;

    std::map<PeerId, ConnectionPointer> connections_;  // those that are up on our side
    std::map<PeerId, std::shared_ptr<Dialling>> dialling_;
    std::map<std::string, net::StreamHandler> handlers_;
    net::AddressResolver resolver_;
    std::list<std::weak_ptr<net::Network::Observer>> observers_;
    TaskGroup tasks_;

    FairQueue<std::shared_ptr<StreamEnd>> senders_;  // each at most once
    bool uplink_busy_ = false;
    struct Arrived {
        ConnectionPointer connection;
        int side = 0;
        Frame frame;
    };
    FairQueue<Arrived> downlink_;
    bool downlink_busy_ = false;
    std::list<Hook> hooks_;
};

}  // namespace shoal::sim
