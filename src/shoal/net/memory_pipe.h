// A byte pipe within the process, for tests, fuzzing and simulation: with a bounded buffer, and faults to
// inject.
#pragma once

#include <memory>
#include <utility>

#include "shoal/base/async.h"
#include "shoal/net/byte_pipe.h"

namespace shoal::net {

class MemoryPipe final : public BytePipe {
  public:
    /// Two connected ends. `capacity` bytes fit between a write and the read that takes them.
    static std::pair<std::unique_ptr<MemoryPipe>, std::unique_ptr<MemoryPipe>> make_pair(
        const asio::any_io_executor& executor, std::size_t capacity = 256 * 1024);

    ~MemoryPipe() override;
    awaitable<ByteView> read() override;
    void stage(OutgoingBatch&) override {}
    awaitable<void> flush(OutgoingBatch& batch) override;
    void finish() override;
    void close() override;
    std::uint64_t bytes_sent() const override;
    std::uint64_t bytes_received() const override;
    std::string remote_address() const override { return "memory"; }

    /// From now on nothing that this end sends arrives, and nobody is told: a cable cut, or a process
    /// stopped.
    void stall();

  private:
    struct Channel;
    MemoryPipe(std::shared_ptr<Channel> in, std::shared_ptr<Channel> out);
    const std::shared_ptr<Channel> in_, out_;
    Bytes reading_;
};

}  // namespace shoal::net
