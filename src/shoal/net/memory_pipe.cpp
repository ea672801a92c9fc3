#include "shoal/net/memory_pipe.h"

#include <algorithm>

#include "shoal/base/error.h"

namespace shoal::net {

/// One direction.
struct MemoryPipe::Channel {
    Channel(const asio::any_io_executor& executor, std::size_t limit) : capacity(limit), changed(executor) {}
    const std::size_t capacity;
    Bytes bytes;  // sent and not yet read
    std::uint64_t sent = 0, received = 0;
    bool finished = false;  // the writer ended in order
    bool broken = false;    // either side closed
    bool stalled = false;
    Signal changed;
};

std::pair<std::unique_ptr<MemoryPipe>, std::unique_ptr<MemoryPipe>> MemoryPipe::make_pair(
    const asio::any_io_executor& executor, std::size_t capacity) {
    auto forth = std::make_shared<Channel>(executor, capacity);
    auto back = std::make_shared<Channel>(executor, capacity);
    return {std::unique_ptr<MemoryPipe>(new MemoryPipe(back, forth)),
            std::unique_ptr<MemoryPipe>(new MemoryPipe(forth, back))};
}

MemoryPipe::MemoryPipe(std::shared_ptr<Channel> in, std::shared_ptr<Channel> out)
    : in_(std::move(in)), out_(std::move(out)) {}

MemoryPipe::~MemoryPipe() {
    close();
}

awaitable<ByteView> MemoryPipe::read() {
    const auto in = in_;
    while (in->bytes.empty() || in->stalled) {
        if (in->broken || in->finished) throw Error(ErrorKind::connection_lost, "it closed the connection");
        co_await in->changed.wait();
    }
    reading_.clear();
    reading_.swap(in->bytes);
    in->received += reading_.size();
    in->changed.notify();
    co_return ByteView(reading_);
}

awaitable<void> MemoryPipe::flush(OutgoingBatch& batch) {
    const auto out = out_;
    while (!batch.empty()) {
        if (out->broken || out->finished) throw Error(ErrorKind::connection_lost, "it closed the connection");
        const std::size_t room = out->capacity - std::min(out->capacity, out->bytes.size());
        if (room == 0) {
            co_await out->changed.wait();
            continue;
        }
        const asio::const_buffer part = batch.parts().front();
        const std::size_t count = std::min(room, part.size());
        const auto* start = static_cast<const std::uint8_t*>(part.data());
        out->bytes.insert(out->bytes.end(), start, start + count);
        out->sent += count;
        batch.consume(count);
        out->changed.notify();
    }
}

void MemoryPipe::finish() {
    out_->finished = true;
    out_->changed.notify();
}

void MemoryPipe::close() {
    for (const auto& channel : {in_, out_}) {
        channel->broken = true;
        channel->changed.notify();
    }
}

void MemoryPipe::stall() {
    out_->stalled = true;
}

std::uint64_t MemoryPipe::bytes_sent() const {
    return out_->sent;
}

std::uint64_t MemoryPipe::bytes_received() const {
    return in_->received;
}

}  // namespace shoal::net
