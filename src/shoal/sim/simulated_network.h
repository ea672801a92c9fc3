// The simulated Internet: peers with links of given rates, latency between them, and every fault that we can
// think of, on demand.
//
// A message occupies the sender's uplink for bytes / rate, travels for the latency of the pair, and then
// occupies the receiver's downlink. Streams that want the same line at the same time get equal parts of it,
// segment by segment, and little more is on its way to a line than that carries at once, so that whom it
// holds up does not hold up others. Streams have a window as the real ones have. Nothing is lost on the way:
// as over TCP, what a partition holds back arrives when it heals, unless the connection was given up before.
//
// What a fault looks like to the others:
//   crash      (kill -9)  connections break at once (after the latency); dialling is refused
//   freeze     (SIGSTOP)  silence: connections are given up after peer_timeout; dialling times out
//   partition             silence on both sides, likewise
//   cut                   both sides lose the connection; they may dial again
//   half_close            one side loses it, and the other hears nothing more
//
// Thread: the one of the simulation.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "shoal/base/random.h"
#include "shoal/net/network.h"
#include "shoal/sim/simulation.h"

namespace shoal::sim {

/// One machine and its line.
struct HostSettings {
    double upload_rate = 0;                             ///< bytes per second; 0: unlimited
    double download_rate = 0;                           ///< bytes per second; 0: unlimited
    Duration latency = std::chrono::microseconds(500);  ///< from this machine to the middle of the network
    /// The router before the downlink has one deep queue for all: who sends much delays what others send.
    bool deep_queue = false;
    bool accept_connections = true;               ///< false: client mode
    std::size_t stream_window = 4 * 1024 * 1024;  ///< credit of one stream, bytes
    Duration dial_timeout = std::chrono::seconds(10);
    Duration peer_timeout = std::chrono::milliseconds(2000);  ///< a peer silent for this long is lost
    Duration clock_skew{0};                                   ///< of the wall clock
    std::size_t region = 0;                                   ///< row and column in region_latency
};

struct InternetSettings {
    Duration maximum_jitter{0};  ///< added to each segment's way, uniform; order is kept
    /// What a stream may send at most before another may; less on slow lines (kSegmentTime).
    std::size_t segment_bytes = 64 * 1024;
    /// A byte of payload takes as much of the line as this many: small vectors stand for large ones. Control
    /// bytes and overhead count as they are.
    double payload_scale = 1;
    /// What lies between two regions, one way, beside the latencies of the two hosts. Empty: nothing.
    std::vector<std::vector<Duration>> region_latency{};
};

/// What a machine has sent and received so far.
struct Traffic {
    std::uint64_t bytes_sent = 0, bytes_received = 0;        ///< with kMessageOverhead for each message
    std::uint64_t messages_sent = 0, messages_received = 0;  ///< completely
};

/// What a frame around a message costs on the wire (header and TLS record).
inline constexpr std::size_t kMessageOverhead = 32;

/// A segment holds the slower of the two lines no longer than this, unless it is among the smallest: over TCP
/// bytes move on a slow line as well, few at a time.
inline constexpr Duration kSegmentTime = std::chrono::milliseconds(50);
inline constexpr std::size_t kSmallestSegment = 1500;

class SimulatedHost;

class SimulatedInternet {
  public:
    explicit SimulatedInternet(Simulation& simulation, InternetSettings settings = {});
    ~SimulatedInternet();
    SimulatedInternet(const SimulatedInternet&) = delete;
    SimulatedInternet& operator=(const SimulatedInternet&) = delete;

    /// A machine joins. Its Network leaves again (closing all connections) when the pointer is dropped. The
    /// id of a machine that crashed or left may be used again: it has been restarted. Unless a resolver is
    /// set, its Network finds every peer that accepts connections.
    std::shared_ptr<net::Network> join(const PeerId& id, HostSettings settings = {});

    /// The clock that the code of this machine must use: it stops when the machine is frozen or crashes.
    VirtualClock& clock(const PeerId& id);
    /// Where the machine can be dialled; each has an address of its own.
    net::Endpoint endpoint(const PeerId& id) const;
    Traffic traffic(const PeerId& id) const;

    // --- faults; each takes effect at once --------------------------------------------------------------
    /// The machine stops for good. Its own coroutines are never told: cancel them as convenient (on_crash).
    void crash(const PeerId& id);
    void freeze(const PeerId& id);
    void thaw(const PeerId& id);
    /// Breaks the connection between two machines.
    void cut(const PeerId& a, const PeerId& b);
    /// The connection between two machines ends for the one alone; nothing tells the other, which believes in
    /// it until it has heard nothing for its time-out, or is dialled anew.
    void half_close(const PeerId& known_to, const PeerId& other);
    /// From now on only machines of the same group reach each other; those in no group form one more.
    void partition(std::vector<std::vector<PeerId>> groups);
    void heal();
    void set_rates(const PeerId& id, double upload_rate, double download_rate);

    /// Calls `action` once, when this machine has put its n-th next message on the wire completely (n > 0).
    /// @param service  counts only streams of this service; empty: all.
    void after_messages(const PeerId& id, std::uint64_t n, std::function<void()> action,
                        std::string service = {});
    /// Calls `action` once, when exactly n more bytes are on the wire; the rest of the message that they cut
    /// through leaves only after that.
    void after_bytes(const PeerId& id, std::uint64_t n, std::function<void()> action,
                     std::string service = {});
    /// Told of every crash, e.g. to cancel the coroutines of the machine.
    void on_crash(std::function<void(const PeerId&)> action) { on_crash_.push_back(std::move(action)); }

    // --- questions --------------------------------------------------------------------------------------
    bool is_crashed(const PeerId& id) const;
    bool is_frozen(const PeerId& id) const;
    /// No partition lies between the two (whether they run or not).
    bool is_reachable(const PeerId& a, const PeerId& b) const;
    /// Grows with each partition() and heal().
    std::uint64_t partition_number() const { return partitions_; }
    /// Notified on every fault and its end.
    Signal& topology_changed() { return topology_changed_; }
    /// Called on every fault and its end, at once.
    void on_topology_change(std::function<void()> action) { on_change_.push_back(std::move(action)); }

    Simulation& simulation() { return simulation_; }
    const InternetSettings& settings() const { return settings_; }

  private:
    friend class SimulatedHost;
    std::shared_ptr<SimulatedHost> find(const PeerId& id) const;  // throws Error(invalid_argument)
    std::shared_ptr<SimulatedHost> find_endpoint(const net::Endpoint& endpoint) const;  // may be null
    void leave(const SimulatedHost& host);
    void changed(std::string_view what, const PeerId& id);
    int group_of(const PeerId& id) const;

    Simulation& simulation_;
    InternetSettings settings_;
    Random random_;
    Signal topology_changed_;
    std::vector<std::function<void()>> on_change_;
    std::vector<std::function<void(const PeerId&)>> on_crash_;
    std::map<PeerId, std::shared_ptr<SimulatedHost>> hosts_;
    std::unordered_map<PeerId, std::shared_ptr<SimulatedHost>> by_id_;  // the same, found faster
    std::vector<std::shared_ptr<SimulatedHost>> replaced_;  // crashed or gone, and restarted since
    std::map<net::Endpoint, PeerId> endpoints_;
    std::map<PeerId, int> groups_;
    std::uint64_t partitions_ = 0;
    std::uint32_t joined_ = 0;
    std::uint64_t connections_made_ = 0;
};

}  // namespace shoal::sim
