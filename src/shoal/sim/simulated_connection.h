// Inside the simulated Internet: a connection between two hosts, its streams, and the frames on it.
#pragma once

#include <array>
#include <deque>
#include <map>
#include <memory>
#include <string>

#include "shoal/base/async.h"
#include "shoal/net/network.h"
#include "shoal/sim/fair_queue.h"
#include "shoal/sim/timeline.h"

namespace shoal::sim {

class SimulatedHost;
struct Connection;

/// What travels. A message goes as some parts and one end; only the end carries it.
struct Frame {
    enum class Kind { open, part, message, finish, stop, reset, credit, closed };
    Kind kind = Kind::part;
    std::uint64_t stream = 0;
    std::size_t bytes = 0;  ///< that it takes on the wire
    std::shared_ptr<net::Message> message{};
    std::string text{};      ///< service of open; reason of stop, reset and closed
    std::size_t credit = 0;  ///< bytes that the reader has taken, of credit
};

/// One end of a stream. The connection keeps it until both directions have ended, its user through a
/// SimulatedStream.
struct StreamEnd {
    StreamEnd(std::shared_ptr<Connection> on, int of_side, std::uint64_t stream_id, std::string service_name,
              const asio::any_io_executor& executor);

    std::shared_ptr<Connection> connection;
    int side = 0;
    std::uint64_t id = 0;
    std::string service;

    std::deque<Frame> outbox;        ///< waits for the uplink; parts are cut off the first one
    std::size_t unacknowledged = 0;  ///< bytes that the other side's reader has not taken yet
    std::size_t under_way = 0;       ///< bytes that have left the outbox and not arrived at the other side
    bool queued = false;             ///< waits for its host's uplink
    bool finished_out = false;
    bool finished_in = false;
    bool abandoned = false;  ///< the user has dropped it
    std::deque<net::Message> inbox;
    std::exception_ptr write_error;
    std::exception_ptr read_error;
    Signal readable;
    Signal writable;

    void fail(const std::exception_ptr& error, bool keep_inbox);
    FlowKey flow() const;
    bool ended() const { return finished_out && finished_in && outbox.empty(); }
};

/// A connection has two sides, which may learn of its end at different times.
struct Connection {
    std::uint64_t number = 0;
    std::array<std::shared_ptr<SimulatedHost>, 2> hosts;  ///< [0] has dialled
    std::array<bool, 2> up{true, true};
    std::array<std::map<std::uint64_t, std::shared_ptr<StreamEnd>>, 2> streams;
    std::array<std::deque<Frame>, 2> held;         ///< arrived for that side while it was out of reach
    std::array<std::deque<Frame>, 2> passed;       ///< likewise, and its downlink has carried them
    std::array<TimePoint, 2> last_arrival{};       ///< at that side; keeps the order under jitter
    std::array<std::uint64_t, 2> bytes_sent{};     ///< by that side
    std::array<std::uint64_t, 2> bytes_arrived{};  ///< at that side
    std::uint64_t next_stream = 0;
    Duration one_way{0};

    int side_of(const SimulatedHost& host) const { return hosts[0].get() == &host ? 0 : 1; }
};

/// What a user holds.
class SimulatedStream final : public net::Stream {
  public:
    explicit SimulatedStream(std::shared_ptr<StreamEnd> end);
    ~SimulatedStream() override;

    const PeerId& peer() const override;
    awaitable<void> write(ByteView control, ByteView payload) override;
    awaitable<std::optional<net::Message>> read() override;
    void finish() override;
    void reset(const std::string& reason) override;

  private:
    std::shared_ptr<StreamEnd> end_;
};

}  // namespace shoal::sim
