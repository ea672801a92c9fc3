// One stream as the multiplexer keeps it, and the handle that callers hold.
//
// A message costs its bytes plus kMessageCost of the credit that the receiver gave; the sender has the whole
// cost before the first byte leaves, so a receiver never holds more than its window, whatever it reads or
// does not.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>

#include "shoal/base/async.h"
#include "shoal/base/error.h"
#include "shoal/net/network.h"

namespace shoal::net {

class Multiplexer;

/// What a message costs beyond its bytes, so that empty ones are not free.
inline constexpr std::size_t kMessageCost = 64;
inline constexpr std::size_t kMaximumMessageCost = kMaximumControlBytes + kMaximumPayloadBytes + kMessageCost;
/// A window must hold two of the largest messages: credit is given back half a window at a time.
inline constexpr std::size_t kMinimumWindow = 2 * kMaximumMessageCost;
inline constexpr std::size_t kMaximumWindow = std::size_t{1} << 30;
/// The window of a stream that the other side has opened, until our service begins to read it: who opens
/// streams to a service that waits for something else fills no more than this.
inline constexpr std::size_t kFirstWindow = 64 * 1024;

struct StreamState {
    StreamState(const asio::any_io_executor& executor, std::uint32_t stream_id)
        : id(stream_id), written(executor), arrived(executor) {}

    const std::uint32_t id;

    // --- Outgoing. Invariants: while `writing`, the views are valid; `queued` says that the multiplexer's
    // round-robin queue holds this stream; `paid` that the message's cost has been taken from `credit`.
    std::uint64_t credit = 0;
    ByteView control, payload;
    std::size_t composed = 0;  // bytes of the message that are in batches
    bool writing = false, queued = false, paid = false, announced = false;
    bool local_finished = false;
    std::optional<Error> write_error;
    Signal written;

    std::size_t outgoing_bytes() const { return control.size() + payload.size(); }
    std::size_t outgoing_cost() const { return outgoing_bytes() + kMessageCost; }

    // --- Incoming. Invariant: allowance + costs of what is in the inbox or arriving + to_return == window,
    // which is kFirstWindow while `unasked`.
    bool unasked = false;         // opened by the other side, and nobody has read it yet
    std::uint64_t allowance = 0;  // cost that the other side may still send
    std::uint64_t to_return = 0;  // cost of what was read, not yet given back
    std::deque<Message> inbox;
    std::optional<Message> arriving;
    std::size_t control_left = 0, payload_left = 0;
    bool remote_finished = false;
    std::optional<Error> read_error;
    Signal arrived;

    bool incoming = false;  // opened by the other side
};

inline std::size_t cost_of(const Message& message) {
    return message.control.size() + message.payload.size() + kMessageCost;
}

/// The caller's end of a stream. Destroying it resets the stream unless it has ended on both sides.
class StreamHandle final : public Stream {
  public:
    StreamHandle(std::shared_ptr<Multiplexer> owner, std::shared_ptr<StreamState> state);
    ~StreamHandle() override;
    const PeerId& peer() const override { return peer_; }
    awaitable<void> write(ByteView control, ByteView payload) override;
    awaitable<std::optional<Message>> read() override;
    void finish() override;
    void reset(const std::string& reason) override;

  private:
    const PeerId peer_;
    const std::shared_ptr<Multiplexer> owner_;
    const std::shared_ptr<StreamState> state_;
};

}  // namespace shoal::net
