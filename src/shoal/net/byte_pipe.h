// What the multiplexer runs over: a reliable, ordered pipe of bytes. TlsPipe and PlainPipe are the real ones,
// MemoryPipe is for tests, fuzzing and simulation.
//
// Sending avoids copies: a batch holds views of the callers' memory, and a pipe that encrypts takes all of it
// at once (stage), while one that does not hands the views to the operating system as it accepts them
// (flush).
#pragma once

#include <asio/awaitable.hpp>
#include <asio/buffer.hpp>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "shoal/base/bytes.h"

namespace shoal::net {

using asio::awaitable;

/// A fixed piece of memory that is not zeroed first.
struct Buffer {
    explicit Buffer(std::size_t n) : data(std::make_unique_for_overwrite<std::uint8_t[]>(n)), size(n) {}
    std::unique_ptr<std::uint8_t[]> data;
    std::size_t size;
};

/// Bytes on their way out, in order: owned ones first, then headers and views of other people's memory.
class OutgoingBatch {
  public:
    static constexpr std::size_t kMaximumParts = 60;  // the system takes 64 at once
    static constexpr std::size_t kHeaderSpace = 32;   // bytes for the headers before one part

    OutgoingBatch();
    OutgoingBatch(const OutgoingBatch&) = delete;
    OutgoingBatch& operator=(const OutgoingBatch&) = delete;

    /// Empties the batch and begins it with these bytes; the batch's old storage is handed back for reuse.
    void begin(Bytes& owned);
    /// Copies up to kHeaderSpace bytes. Only while fewer than kMaximumParts parts are there.
    void add_header(ByteView header);
    /// The view must stay valid until it is consumed or detached.
    void add_view(ByteView view);

    bool empty() const { return next_ == parts_.size(); }
    bool has_room() const { return parts_.size() + 3 <= kMaximumParts; }
    std::size_t bytes() const { return bytes_; }  ///< not yet consumed
    std::span<const asio::const_buffer> parts() const {
        return {parts_.data() + next_, parts_.size() - next_};
    }
    /// Removes bytes from the front.
    void consume(std::size_t count);
    void consume_all() { consume(bytes_); }
    /// Copies what is left of the views that lie in `region`, so that its owner may go away.
    void detach(ByteView region);

  private:
    // Invariant: bytes_ is the sum of the sizes of parts_[next_..].
    Bytes owned_;
    Buffer headers_;
    std::size_t headers_used_ = 0;
    std::vector<asio::const_buffer> parts_;
    std::size_t next_ = 0;
    std::size_t bytes_ = 0;
    std::vector<Bytes> detached_;
};

/// One end. One coroutine may read while another one writes; all on one thread.
class BytePipe {
  public:
    virtual ~BytePipe() = default;

    /// The next bytes, at least one; the view is valid until the next read(). Throws Error(connection_lost)
    /// with the cause when the other side has closed or the connection broke.
    virtual awaitable<ByteView> read() = 0;
    /// Consumes the batch now if this pipe keeps its own form of the bytes; otherwise does nothing.
    virtual void stage(OutgoingBatch& batch) = 0;
    /// Sends what was staged and what is left in the batch. The batch may be detached from meanwhile. Throws
    /// Error(connection_lost).
    virtual awaitable<void> flush(OutgoingBatch& batch) = 0;
    /// Says that nothing more will be sent. Does not wait.
    virtual void finish() = 0;
    /// Ends reads and writes under way with an error. May be called twice.
    virtual void close() = 0;

    virtual std::uint64_t bytes_sent() const = 0;      ///< on the wire
    virtual std::uint64_t bytes_received() const = 0;  ///< on the wire
    /// Of bytes_sent, what the other machine has not acknowledged yet.
    virtual std::uint64_t bytes_on_the_way() const { return 0; }
    virtual std::string remote_address() const = 0;  ///< for logs
};

}  // namespace shoal::net
