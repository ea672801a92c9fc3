#include "shoal/net/striped_pipe.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "shoal/base/error.h"
#include "shoal/net/frame.h"

namespace shoal::net {
namespace {

constexpr std::size_t kHeaderBytes = 8;

/// One connection of the pipe.
struct LaneState {
    LaneState(const asio::any_io_executor& executor, StripedPipe::Lane lane)
        : pipe(std::move(lane.pipe)),
          early(std::move(lane.already_read)),
          unread(early),
          taken(executor),
          given(executor) {}
    const std::unique_ptr<BytePipe> pipe;

    // Receiving. Invariant: `unread` is what is left of the pipe's last read, or of `early`.
    Bytes early;
    ByteView unread;
    std::array<std::uint8_t, kHeaderBytes> header{};
    std::size_t header_bytes = 0;  // of the next segment's header, read so far
    std::uint32_t number = 0;      // of the segment under way
    std::size_t left = 0;          // of its bytes; 0: none is under way
    bool ended = false;            // the other side has said so
    Signal taken;                  // unread or left has shrunk

    // Sending.
    OutgoingBatch batch;
    Bytes segment;      // becomes the batch
    bool busy = false;  // `segment` or `batch` is on its way to the system
    Signal given;       // there is a segment to send, or none will follow
};

}  // namespace

struct StripedPipe::State {
    State(const asio::any_io_executor& executor, std::vector<Lane> all) : arrived(executor), idle(executor) {
        for (Lane& lane : all) lanes.push_back(std::make_unique<LaneState>(executor, std::move(lane)));
    }

    LaneState* lane_to_read();
    void take_what_was_read();
    LaneState* lane_to_write();
    void fail(const Error& error);
    bool all_ended() const {
        return std::all_of(lanes.begin(), lanes.end(), [](const auto& lane) { return lane->ended; });
    }

    static awaitable<void> receive(std::shared_ptr<State> self, LaneState& lane);
    static awaitable<void> read_segments(State& self, LaneState& lane);
    static awaitable<void> send(std::shared_ptr<State> self, LaneState& lane);
    static awaitable<void> write_segments(State& self, LaneState& lane);

    std::vector<std::unique_ptr<LaneState>> lanes;
    std::uint32_t next_to_read = 0;
    std::uint32_t next_to_write = 0;
    LaneState* reading = nullptr;  // whose bytes the last read() returned
    std::size_t bytes_read = 0;    // so many
    bool finished = false;
    std::optional<Error> failure;
    Signal arrived;  // a lane has bytes of a segment, or has ended, or failed
    Signal idle;     // a lane may take a segment, or the pipe failed
};

// --- Receiving.

LaneState* StripedPipe::State::lane_to_read() {
    for (const auto& lane : lanes)
        if (lane->left > 0 && lane->number == next_to_read && !lane->unread.empty()) return lane.get();
    return nullptr;
}

void StripedPipe::State::take_what_was_read() {
    LaneState* lane = std::exchange(reading, nullptr);
    if (!lane) return;
    lane->unread = lane->unread.subspan(bytes_read);
    lane->left -= bytes_read;
    if (lane->left == 0) ++next_to_read;
    lane->taken.notify();
}

awaitable<ByteView> StripedPipe::read() {
    const std::shared_ptr<State> state = state_;
    state->take_what_was_read();
    for (;;) {
        if (LaneState* lane = state->lane_to_read()) {
            state->reading = lane;
            state->bytes_read = std::min(lane->left, lane->unread.size());
            co_return lane->unread.first(state->bytes_read);
        }
        if (state->failure) throw *state->failure;
        if (state->all_ended()) throw Error(ErrorKind::connection_lost, "it closed the connection");
        co_await state->arrived.wait();
    }
}

/// Reads headers, and waits while the bytes after them are taken by read().
awaitable<void> StripedPipe::State::read_segments(State& self, LaneState& lane) {
    while (!lane.ended && !self.failure) {
        if (lane.unread.empty()) lane.unread = co_await lane.pipe->read();
        if (lane.left == 0) {
            const std::size_t count = std::min(kHeaderBytes - lane.header_bytes, lane.unread.size());
            std::copy_n(lane.unread.begin(), count, lane.header.begin() + lane.header_bytes);
            lane.unread = lane.unread.subspan(count);
            lane.header_bytes += count;
            if (lane.header_bytes < kHeaderBytes) continue;
            lane.header_bytes = 0;
            lane.number = get_u32(lane.header.data());
            lane.left = get_u32(lane.header.data() + 4);
            lane.ended = lane.left == 0;
            if (lane.left > kSegmentBytes)
                throw Error(ErrorKind::protocol_violation, "sent a segment that is too long");
        }
        self.arrived.notify();
        while (lane.left > 0 && !lane.unread.empty() && !self.failure) co_await lane.taken.wait();
    }
}

awaitable<void> StripedPipe::State::receive(std::shared_ptr<State> self, LaneState& lane) {
    try {
        co_await read_segments(*self, lane);
    } catch (const Error& error) {
        self->fail(error);
    }
}

// --- Sending.

LaneState* StripedPipe::State::lane_to_write() {
    // Little traffic stays on the first lane.
    const auto found = std::find_if(lanes.begin(), lanes.end(), [](const auto& lane) { return !lane->busy; });
    return found == lanes.end() ? nullptr : found->get();
}

awaitable<void> StripedPipe::flush(OutgoingBatch& batch) {
    const std::shared_ptr<State> state = state_;
    while (!batch.empty()) {
        if (state->failure) throw *state->failure;
        LaneState* lane = state->lane_to_write();
        if (!lane) {
            co_await state->idle.wait();
            continue;
        }
        const std::size_t length = std::min(kSegmentBytes, batch.bytes());
        lane->segment.resize(kHeaderBytes + length);
        put_u32(lane->segment.data(), state->next_to_write++);
        put_u32(lane->segment.data() + 4, static_cast<std::uint32_t>(length));
        asio::buffer_copy(asio::buffer(lane->segment.data() + kHeaderBytes, length), batch.parts());
        batch.consume(length);
        lane->busy = true;
        lane->given.notify();
    }
}

awaitable<void> StripedPipe::State::write_segments(State& self, LaneState& lane) {
    for (;;) {
        while (!lane.busy && !self.finished && !self.failure) co_await lane.given.wait();
        if (self.failure) co_return;
        const bool last = !lane.busy;
        if (last) lane.segment.assign(kHeaderBytes, 0);
        lane.batch.begin(lane.segment);
        lane.pipe->stage(lane.batch);
        co_await lane.pipe->flush(lane.batch);
        lane.busy = false;
        self.idle.notify();
        if (last) break;
    }
    lane.pipe->finish();
}

awaitable<void> StripedPipe::State::send(std::shared_ptr<State> self, LaneState& lane) {
    try {
        co_await write_segments(*self, lane);
    } catch (const Error& error) {
        self->fail(error);
    }
}

// --- The whole.

void StripedPipe::State::fail(const Error& error) {
    if (!failure) failure = error;
    arrived.notify();
    idle.notify();
    for (const auto& lane : lanes) {
        lane->taken.notify();
        lane->given.notify();
    }
}

StripedPipe::StripedPipe(const asio::any_io_executor& executor, std::vector<Lane> lanes)
    : state_(std::make_shared<State>(executor, std::move(lanes))), tasks_(executor) {
    for (const auto& lane : state_->lanes) {
        tasks_.spawn(State::receive(state_, *lane));
        tasks_.spawn(State::send(state_, *lane));
    }
}

StripedPipe::~StripedPipe() {
    close();
}

void StripedPipe::finish() {
    state_->finished = true;
    for (const auto& lane : state_->lanes) lane->given.notify();
}

void StripedPipe::close() {
    state_->fail(Error(ErrorKind::cancelled, "the connection was closed here"));
    for (const auto& lane : state_->lanes) lane->pipe->close();
}

std::uint64_t StripedPipe::bytes_sent() const {
    std::uint64_t sum = 0;
    for (const auto& lane : state_->lanes) sum += lane->pipe->bytes_sent();
    return sum;
}

std::uint64_t StripedPipe::bytes_received() const {
    std::uint64_t sum = 0;
    for (const auto& lane : state_->lanes) sum += lane->pipe->bytes_received();
    return sum;
}

std::uint64_t StripedPipe::bytes_on_the_way() const {
    std::uint64_t sum = 0;
    for (const auto& lane : state_->lanes) sum += lane->pipe->bytes_on_the_way();
    return sum;
}

std::string StripedPipe::remote_address() const {
    return state_->lanes.front()->pipe->remote_address();
}

}  // namespace shoal::net
