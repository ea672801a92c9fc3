// Several connections to the same peer as one pipe, for links that are long and fat: a TCP connection has at
// most one window of bytes on the way and slows down for each lost packet, several have several windows.
//
// The bytes are cut into numbered segments. Each goes over the connection (lane) that has taken its last one
// first, so a slow lane carries less; the other side reads them in the order of their numbers. What came
// early waits in the buffers of its lane, whose sender then waits, too: nothing is stored in between.
//
//   segment: u32 number (from 0, wraps), u32 length (1 to kSegmentBytes), the bytes
//   length 0: nothing more comes over this lane
//
// A lane that breaks breaks the pipe.
#pragma once

#include <memory>
#include <vector>

#include "shoal/base/async.h"
#include "shoal/net/byte_pipe.h"

namespace shoal::net {

class StripedPipe final : public BytePipe {
  public:
    static constexpr std::size_t kSegmentBytes = 64 * 1024;

    struct Lane {
        Lane(std::unique_ptr<BytePipe> p, Bytes rest) : pipe(std::move(p)), already_read(std::move(rest)) {}
        std::unique_ptr<BytePipe> pipe;
        Bytes already_read;  ///< what the handshake took from the pipe and did not need
    };

    /// @param lanes  at least one. Their order is each side's own affair.
    StripedPipe(const asio::any_io_executor& executor, std::vector<Lane> lanes);
    ~StripedPipe() override;

    awaitable<ByteView> read() override;
    void stage(OutgoingBatch&) override {}
    /// Returns when each byte has been given to a lane, not when the lanes have sent them.
    awaitable<void> flush(OutgoingBatch& batch) override;
    void finish() override;
    void close() override;
    std::uint64_t bytes_sent() const override;
    std::uint64_t bytes_received() const override;
    std::uint64_t bytes_on_the_way() const override;
    std::string remote_address() const override;  ///< of the first lane

  private:
    struct State;
    const std::shared_ptr<State> state_;  // the tasks hold it, too
    TaskGroup tasks_;
};

}  // namespace shoal::net
