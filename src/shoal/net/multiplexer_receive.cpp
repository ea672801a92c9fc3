// The receiving half of the multiplexer. Everything that arrives is hostile until checked.
#include <algorithm>
#include <utility>

#include "shoal/net/multiplexer.h"

namespace shoal::net {

awaitable<void> Multiplexer::read_loop(Bytes already_read) {
    const auto self = shared_from_this();
    std::string broken;
    try {
        decoder_.feed(already_read);
        for (;;) {
            const ByteView bytes = co_await pipe_->read();
            last_heard_ = clock_.now();
            decoder_.feed(bytes);
            account();
            // The write loop may wait for this peer to take what was sent before.
            if (outbox_.size() > kMaximumOutbox)
                throw lost_error("it makes us answer and does not read the answers");
        }
    } catch (const Error& error) {
        if (error.kind() != ErrorKind::protocol_violation) throw;
        broken = error.what();
    }
    // Say goodbye with the reason: a peer of another version should learn why. Nothing more is read.
    if (ended_) throw lost_error(end_cause_);
    close(broken);
}

Multiplexer::StatePointer Multiplexer::find(std::uint32_t stream) const {
    const auto found = streams_.find(stream);
    return found == streams_.end() ? nullptr : found->second;
}

/// True for a stream that existed once: frames for it may still be on their way after it ended here.
bool Multiplexer::was_opened(std::uint32_t stream) const {
    const bool ours = (stream & 1) == (next_stream_ & 1);
    return ours ? stream < next_stream_ : stream <= last_remote_stream_;
}

void Multiplexer::on_frame(const FrameHeader& header, ByteView body) {
    switch (header.type) {
        case FrameType::ping:
            append_frame(outbox_, FrameType::pong, 0, body);
            wake_writer();
            return;
        case FrameType::pong:
            if (!ping_pending_ || get_u64(body.data()) != ping_token_) return;
            ping_pending_ = false;
            if (const Duration sample = clock_.now() - ping_sent_; round_trip_ == Duration(0)) {
                round_trip_ = std::max(sample, Duration(1));
            } else {
                round_trip_ = (7 * round_trip_ + sample) / 8;
            }
            return;
        case FrameType::goodbye:
            throw lost_error("it said goodbye: " + printable(body));
        case FrameType::hello:
        case FrameType::welcome:
        case FrameType::refuse:
            throw Error(ErrorKind::protocol_violation, "repeated the handshake", peer_.short_name());
        case FrameType::open:
            return on_open(header.stream, body);
        default:
            break;
    }
    const StatePointer state = find(header.stream);
    if (!state) {
        if (was_opened(header.stream)) return;
        throw Error(ErrorKind::protocol_violation, "used a stream that nobody opened", peer_.short_name());
    }
    switch (header.type) {
        case FrameType::message:
            return on_message(*state, body);
        case FrameType::credit:
            return on_credit(state, get_u32(body.data()));
        case FrameType::finish:
            if (state->remote_finished || state->arriving)
                throw Error(ErrorKind::protocol_violation, "finished a stream in a message, or twice",
                            peer_.short_name());
            state->remote_finished = true;
            state->arrived.notify();
            return forget_if_ended(*state);
        default:
            return on_reset(state, body);
    }
}

void Multiplexer::on_open(std::uint32_t stream, ByteView service) {
    const bool ours = (stream & 1) == (next_stream_ & 1);
    if (ours || stream <= last_remote_stream_)
        throw Error(ErrorKind::protocol_violation, "opened a stream with a wrong number", peer_.short_name());
    last_remote_stream_ = stream;
    if (ended_) return;
    // The handles count too: a peer that opens and resets streams all the time keeps our services busy
    // without having many open.
    const bool few = theirs_open_ < terms_.our_streams && theirs_held_ < 2 * terms_.our_streams;
    if (!few || !share_.make_room(kStreamCost)) {
        const std::string reason = few ? "too little memory for another stream" : "too many streams at once";
        append_frame(outbox_, FrameType::reset, stream, as_bytes(reason));
        return wake_writer();
    }
    auto state = std::make_shared<StreamState>(executor_, stream);
    state->credit = terms_.their_window;
    state->allowance = kFirstWindow;
    state->incoming = state->unasked = true;
    streams_.emplace(stream, state);
    ++theirs_open_;
    ++theirs_held_;
    account();
    acceptor_(std::make_shared<StreamHandle>(shared_from_this(), std::move(state)),
              std::string(as_text(service)));
}

void Multiplexer::on_message(StreamState& state, ByteView lengths) {
    const std::size_t control = get_u32(lengths.data());
    const std::size_t payload = get_u32(lengths.data() + 4);
    if (control > kMaximumControlBytes || payload > kMaximumPayloadBytes)
        throw Error(ErrorKind::protocol_violation, "announced a message that is too large",
                    peer_.short_name());
    if (state.arriving || state.remote_finished)
        throw Error(ErrorKind::protocol_violation, "began a message in another one, or after the last",
                    peer_.short_name());
    const std::size_t cost = control + payload + kMessageCost;
    if (cost > state.allowance)
        throw Error(ErrorKind::protocol_violation, "sent more than its credit", peer_.short_name());
    const bool fits = unread_ + cost <= terms_.maximum_unread;
    if (!fits || !share_.make_room(cost)) {
        if (const StatePointer whole = find(state.id)) {
            const std::string reason =
                fits ? "too much unread data here" : "too much unread data on this connection";
            reset(whole, reason);
            whole->read_error = whole->write_error = Error(ErrorKind::refused, reason, peer_.short_name());
        }
        return;
    }
    state.allowance -= cost;
    unread_ += cost;
    account();
    state.arriving.emplace();
    state.control_left = control;
    state.payload_left = payload;
    if (control + payload == 0) deliver(state);
}

void Multiplexer::on_data(std::uint32_t stream, ByteView piece) {
    const auto found = streams_.find(stream);
    if (found == streams_.end()) {
        if (was_opened(stream)) return;
        throw Error(ErrorKind::protocol_violation, "used a stream that nobody opened", peer_.short_name());
    }
    StreamState& state = *found->second;
    if (!state.arriving || piece.size() > state.control_left + state.payload_left)
        throw Error(ErrorKind::protocol_violation, "sent bytes that belong to no message",
                    peer_.short_name());
    Message& message = *state.arriving;
    if (state.control_left > 0) {
        // Memory is taken for bytes that are here, not for bytes that were announced.
        if (message.control.empty()) message.control.reserve(state.control_left);
        const ByteView part = piece.first(std::min(piece.size(), state.control_left));
        message.control.insert(message.control.end(), part.begin(), part.end());
        state.control_left -= part.size();
        piece = piece.subspan(part.size());
    }
    if (!piece.empty()) {
        if (message.payload.empty()) message.payload.reserve(state.payload_left);
        message.payload.insert(message.payload.end(), piece.begin(), piece.end());
        state.payload_left -= piece.size();
    }
    if (state.control_left + state.payload_left == 0) deliver(state);
}

void Multiplexer::deliver(StreamState& state) {
    state.inbox.push_back(std::move(*state.arriving));
    state.arriving.reset();
    state.arrived.notify();
}

void Multiplexer::on_credit(const StatePointer& state, std::uint32_t amount) {
    if (amount > terms_.their_window || state->credit + amount > terms_.their_window)
        throw Error(ErrorKind::protocol_violation, "gave more credit than its window", peer_.short_name());
    state->credit += amount;
    enqueue(state);
}

void Multiplexer::on_reset(const StatePointer& state, ByteView reason) {
    const Error error(ErrorKind::refused, printable(reason), peer_.short_name());
    // What it had sent and finished before stays readable.
    if (!state->remote_finished) {
        drop_incoming(*state);
        state->read_error = error;
    }
    state->write_error = error;
    state->local_finished = state->remote_finished = true;
    forget_if_ended(*state);
    state->arrived.notify();
    state->written.notify();
}

awaitable<std::optional<Message>> Multiplexer::read(StatePointer state) {
    const auto self = shared_from_this();
    if (std::exchange(state->unasked, false)) state->to_return += terms_.our_window - kFirstWindow;
    give_credit(*state);
    while (state->inbox.empty()) {
        if (state->read_error) throw *state->read_error;
        if (state->remote_finished) co_return std::nullopt;
        co_await state->arrived.wait();
    }
    std::optional<Message> message(std::move(state->inbox.front()));
    state->inbox.pop_front();
    const std::size_t cost = cost_of(*message);
    unread_ -= cost;
    account();
    state->to_return += cost;
    give_credit(*state);
    co_return message;
}

/// Half a window at a time.
void Multiplexer::give_credit(StreamState& state) {
    if (state.remote_finished || ended_ || state.to_return < terms_.our_window / 2) return;
    append_frame_u32(outbox_, FrameType::credit, state.id, static_cast<std::uint32_t>(state.to_return));
    state.allowance += state.to_return;
    state.to_return = 0;
    wake_writer();
}

}  // namespace shoal::net
