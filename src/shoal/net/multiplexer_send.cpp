// The sending half of the multiplexer.
#include <algorithm>
#include <array>
#include <utility>

#include "shoal/net/multiplexer.h"

namespace shoal::net {
namespace {

/// Bulk bytes taken into one batch: one system call, and what a control frame waits for at most.
constexpr std::size_t kBatchBytes = 256 * 1024;
/// Messages up to this size are copied into the outbox, so that their writer need not wait.
constexpr std::size_t kSmallMessage = 4 * 1024;

}  // namespace

awaitable<void> Multiplexer::write(StatePointer state, ByteView control, ByteView payload) {
    const auto self = shared_from_this();
    if (control.size() > kMaximumControlBytes || payload.size() > kMaximumPayloadBytes) {
        throw Error(ErrorKind::invalid_argument, "a message of " + std::to_string(control.size()) + " + " +
                                                     std::to_string(payload.size()) +
                                                     " bytes is too large for a stream; cut it");
    }
    if (state->write_error) throw *state->write_error;
    if (state->local_finished || state->writing)
        throw Error(ErrorKind::invalid_argument,
                    "write() after finish(), or while another write() is under way");

    state->control = control;
    state->payload = payload;
    state->composed = 0;
    state->writing = true;
    state->announced = state->paid = false;
    enqueue(state);
    // However this coroutine ends, nothing may look at the caller's memory afterwards.
    struct Release {
        Release(Multiplexer& m, const StatePointer& s) : owner(m), stream(s) {}
        Release(const Release&) = delete;
        Release& operator=(const Release&) = delete;
        ~Release() {
            if (stream->writing) owner.abandon_write(stream);
        }
        Multiplexer& owner;
        const StatePointer& stream;
    } const release(*this, state);
    while (state->writing && !state->write_error) co_await state->written.wait();
    if (state->writing && state->write_error) throw *state->write_error;
}

/// Puts a message in line if its credit is there. Called when it is written and when credit arrives.
void Multiplexer::enqueue(const StatePointer& state) {
    if (!state->writing || state->queued || state->paid || state->credit < state->outgoing_cost()) return;
    state->credit -= state->outgoing_cost();
    state->paid = true;
    if (state->outgoing_bytes() <= kSmallMessage && outbox_.size() < kBatchBytes) {
        copy_small(*state);
        return;
    }
    state->queued = true;
    ready_.push_back(state);
    wake_writer();
}

void Multiplexer::copy_small(StreamState& state) {
    std::array<std::uint8_t, 8> lengths{};
    put_u32(lengths.data(), static_cast<std::uint32_t>(state.control.size()));
    put_u32(lengths.data() + 4, static_cast<std::uint32_t>(state.payload.size()));
    append_frame(outbox_, FrameType::message, state.id, lengths);
    if (state.outgoing_bytes() > 0) {
        const FrameHeader header(FrameType::data, state.id,
                                 static_cast<std::uint32_t>(state.outgoing_bytes()));
        const auto encoded = encode(header);
        outbox_.insert(outbox_.end(), encoded.begin(), encoded.end());
        outbox_.insert(outbox_.end(), state.control.begin(), state.control.end());
        outbox_.insert(outbox_.end(), state.payload.begin(), state.payload.end());
    }
    state.writing = false;
    state.written.notify();
    wake_writer();
}

/// The writer is gone before its message was consumed.
void Multiplexer::abandon_write(const StatePointer& state) {
    batch_.detach(state->control);
    batch_.detach(state->payload);
    state->writing = false;
    if (std::exchange(state->queued, false)) std::erase(ready_, state);
    std::erase(composed_, state);
    const bool complete = state->announced && state->composed == state->outgoing_bytes();
    if (state->paid && !state->announced) state->credit += state->outgoing_cost();
    if (state->announced && !complete) reset(state, "a message was cut off: its writer gave up");
    state->control = state->payload = ByteView();
}

void Multiplexer::compose() {
    batch_.begin(outbox_);
    while (!ready_.empty() && batch_.has_room() && batch_.bytes() < kBatchBytes) {
        StatePointer state = std::move(ready_.front());
        ready_.pop_front();
        state->queued = false;
        if (!state->writing || state->write_error) continue;
        compose_chunk(*state);
        if (state->composed < state->outgoing_bytes()) {
            state->queued = true;
            ready_.push_back(std::move(state));
        } else {
            composed_.push_back(std::move(state));
        }
    }
}

/// Adds the next chunk of a message to the batch.
void Multiplexer::compose_chunk(StreamState& state) {
    const std::size_t chunk = std::min(kChunkBytes, state.outgoing_bytes() - state.composed);
    std::array<std::uint8_t, OutgoingBatch::kHeaderSpace> space{};
    std::size_t used = 0;
    const auto add_header = [&](FrameType type, std::size_t length) {
        const auto header = encode(FrameHeader(type, state.id, static_cast<std::uint32_t>(length)));
        std::copy(header.begin(), header.end(), space.begin() + static_cast<std::ptrdiff_t>(used));
        used += header.size();
    };
    if (!state.announced) {
        add_header(FrameType::message, 8);
        put_u32(space.data() + used, static_cast<std::uint32_t>(state.control.size()));
        put_u32(space.data() + used + 4, static_cast<std::uint32_t>(state.payload.size()));
        used += 8;
        state.announced = true;
    }
    if (chunk > 0) add_header(FrameType::data, chunk);
    batch_.add_header(ByteView(space).first(used));

    const std::size_t control_sent = std::min(state.composed, state.control.size());
    const std::size_t control_now = std::min(chunk, state.control.size() - control_sent);
    batch_.add_view(state.control.subspan(control_sent, control_now));
    const std::size_t payload_sent = state.composed - control_sent;
    batch_.add_view(state.payload.subspan(payload_sent, chunk - control_now));
    state.composed += chunk;
}

/// Lets the writers go whose messages the pipe has taken.
void Multiplexer::release_consumed() {
    if (!batch_.empty()) return;
    for (const StatePointer& state : composed_) {
        if (!state->writing || state->composed < state->outgoing_bytes()) continue;
        state->writing = false;
        state->written.notify();
    }
    composed_.clear();
}

void Multiplexer::wake_writer() {
    work_.notify();
}

awaitable<void> Multiplexer::write_loop() {
    const auto self = shared_from_this();
    for (;;) {
        while (outbox_.empty() && ready_.empty()) {
            if (ended_) {  // the goodbye is out; now the other side closes
                pipe_->finish();
                co_return;
            }
            co_await work_.wait();
        }
        compose();
        account();
        pipe_->stage(batch_);
        release_consumed();
        co_await pipe_->flush(batch_);
        release_consumed();
    }
}

}  // namespace shoal::net
