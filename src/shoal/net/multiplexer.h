// Many streams on one byte pipe: credits, turns, keep-alive and the orderly end.
//
// Sending: control frames and small messages are copied into an outbox at once; larger messages wait in a
// round-robin queue, of which the write loop takes one chunk a turn, as views of the callers' memory,
// whenever the pipe has taken the batch before. So a control frame waits for one batch at most, and no stream
// starves another. Receiving: bytes of a message go from the pipe's buffer straight into the message.
//
// One thread, the executor's. Nothing here knows of sockets, so tests and fuzzers drive it over a MemoryPipe.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>

#include "shoal/base/async.h"
#include "shoal/net/byte_pipe.h"
#include "shoal/net/frame.h"
#include "shoal/net/memory_budget.h"
#include "shoal/net/network.h"
#include "shoal/net/stream_state.h"

namespace shoal::net {

/// What both sides of a connection settled in the handshake.
struct Terms {
    std::size_t our_window = 4 * 1024 * 1024;    ///< credit of one stream towards us; at least kMinimumWindow
    std::size_t their_window = 4 * 1024 * 1024;  ///< the same towards them
    std::size_t our_streams = 1024;              ///< how many they may have open
    std::size_t their_streams = 1024;            ///< how many we may have open
    std::size_t maximum_unread = std::size_t{128} << 20;  ///< of all streams together, bytes
    std::shared_ptr<MemoryBudget> budget;  ///< of all connections together; nothing: one of its own
    bool useful = false;                   ///< the peer was of use on an earlier connection
    Duration ping_interval = std::chrono::milliseconds(500);
    Duration peer_timeout = std::chrono::milliseconds(2000);
};

class Multiplexer final : public std::enable_shared_from_this<Multiplexer>, private FrameSink {
  public:
    /// Takes the streams that the other side opens.
    using Acceptor = std::function<void(StreamPointer stream, std::string service)>;

    Multiplexer(asio::any_io_executor executor, Clock& clock, std::unique_ptr<BytePipe> pipe, PeerId peer,
                bool dialled_by_us, Terms terms, Acceptor acceptor);

    /// Works until the connection is lost or closed; then all streams have failed and the cause is returned.
    /// @param already_read  bytes that the handshake took from the pipe and did not need.
    awaitable<std::string> run(Bytes already_read);

    /// Throws Error(connection_lost) if the connection has ended, Error(refused) if too many streams are
    /// open.
    StreamPointer open(const std::string& service);

    /// Ends the connection: all streams fail with the reason at once, the other side is told (within a
    /// second, if it listens), then run() returns the reason.
    void close(const std::string& reason);

    bool alive() const { return !ended_; }
    const PeerId& peer() const { return peer_; }
    bool dialled_by_us() const { return dialled_by_us_; }
    ConnectionInfo info() const;
    std::size_t open_streams() const { return streams_.size(); }
    std::size_t unread_bytes() const { return unread_; }
    /// The peer does its part (Network::mark_useful).
    void mark_useful() { share_.mark_useful(); }
    bool useful() const { return share_.useful(); }

  private:
    friend class StreamHandle;
    /// Answers (pongs, resets, credits) that may wait for a peer that does not read; more is an attack.
    static constexpr std::size_t kMaximumOutbox = 8 * 1024 * 1024;
    /// What a stream of theirs takes besides its messages: its state and the service's coroutine, about.
    static constexpr std::size_t kStreamCost = 4 * 1024;
    using StatePointer = std::shared_ptr<StreamState>;

    // Sending (multiplexer_send.cpp).
    awaitable<void> write(StatePointer state, ByteView control, ByteView payload);
    void copy_small(StreamState& state);
    void enqueue(const StatePointer& state);
    void abandon_write(const StatePointer& state);
    void compose();
    void compose_chunk(StreamState& state);
    void release_consumed();
    awaitable<void> write_loop();
    void wake_writer();

    // Receiving (multiplexer_receive.cpp).
    void on_frame(const FrameHeader& header, ByteView body) override;
    void on_data(std::uint32_t stream, ByteView piece) override;
    void on_open(std::uint32_t stream, ByteView service);
    void on_message(StreamState& state, ByteView lengths);
    void on_credit(const StatePointer& state, std::uint32_t amount);
    void on_reset(const StatePointer& state, ByteView reason);
    void deliver(StreamState& state);
    void give_credit(StreamState& state);
    awaitable<std::optional<Message>> read(StatePointer state);
    awaitable<void> read_loop(Bytes already_read);
    StatePointer find(std::uint32_t stream) const;
    bool was_opened(std::uint32_t stream) const;

    // The life of streams and of the connection.
    void finish(const StatePointer& state);
    void reset(const StatePointer& state, const std::string& reason);
    void handle_gone(const StatePointer& state);
    void drop_incoming(StreamState& state);
    void drop_arriving(StreamState& state);
    void account();
    void give_way();
    void forget_if_ended(const StreamState& state);
    void fail_streams(const std::string& cause);
    awaitable<void> keep_alive();
    awaitable<void> give_up_closing();
    void send_ping();
    Error lost_error(const std::string& cause) const;

    const asio::any_io_executor executor_;
    Clock& clock_;
    const std::unique_ptr<BytePipe> pipe_;
    const PeerId peer_;
    const bool dialled_by_us_;
    const Terms terms_;
    Acceptor acceptor_;
    TaskGroup tasks_;
    bool ended_ = false;     // no stream may be opened any more
    std::string end_cause_;  // set with ended_

    std::unordered_map<std::uint32_t, StatePointer> streams_;
    std::uint32_t next_stream_;             // odd for the dialler, even for the acceptor
    std::uint32_t last_remote_stream_ = 0;  // theirs only grow
    std::size_t ours_open_ = 0, theirs_open_ = 0;
    std::size_t theirs_held_ = 0;  // handles of incoming streams that our services still hold
    std::size_t unread_ = 0;       // cost of all messages in inboxes or arriving
    MemoryBudget::Share share_;    // holds unread_, outbox_ and kStreamCost for each of theirs_held_

    Bytes outbox_;  // frames that go with the next batch
    std::deque<StatePointer> ready_;
    OutgoingBatch batch_;
    std::vector<StatePointer> composed_;  // streams whose message lies completely in batch_
    Signal work_;                         // outbox_ or ready_ is no longer empty, or ended_

    FrameDecoder decoder_;
    TimePoint last_heard_;
    TimePoint ping_sent_;
    std::uint64_t ping_token_ = 0;
    bool ping_pending_ = false;
    Duration round_trip_{0};
};

}  // namespace shoal::net
