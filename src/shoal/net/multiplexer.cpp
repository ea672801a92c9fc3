#include "shoal/net/multiplexer.h"

#include <algorithm>
#include <utility>

namespace shoal::net {
namespace {

/// How long the goodbye may take to be sent and answered by the other side's closing.
constexpr Duration kGoodbyeTime = std::chrono::seconds(1);

}  // namespace

Multiplexer::Multiplexer(asio::any_io_executor executor, Clock& clock, std::unique_ptr<BytePipe> pipe,
                         PeerId peer, bool dialled_by_us, Terms terms, Acceptor acceptor)
    : executor_(std::move(executor)),
      clock_(clock),
      pipe_(std::move(pipe)),
      peer_(peer),
      dialled_by_us_(dialled_by_us),
      terms_(terms),
      acceptor_(std::move(acceptor)),
      tasks_(executor_),
      next_stream_(dialled_by_us ? 1 : 2),
      share_(terms_.budget ? terms_.budget : std::make_shared<MemoryBudget>(default_budget()),
             [this] { give_way(); }),
      work_(executor_),
      decoder_(*this),
      last_heard_(clock.now()) {
    if (terms_.useful) share_.mark_useful();
}

awaitable<std::string> Multiplexer::run(Bytes already_read) {
    const auto self = shared_from_this();
    std::exception_ptr failure;
    tasks_.spawn(read_loop(std::move(already_read)));
    tasks_.spawn(write_loop());
    tasks_.spawn(keep_alive());
    try {
        co_await tasks_.join();
    } catch (...) {
        failure = std::current_exception();
    }
    pipe_->close();
    if (!ended_) fail_streams(failure ? describe(failure) : "the connection was closed");
    acceptor_ = nullptr;
    co_return end_cause_;
}

StreamPointer Multiplexer::open(const std::string& service) {
    if (ended_) throw lost_error(end_cause_);
    if (service.empty() || service.size() > kMaximumServiceBytes)
        throw Error(ErrorKind::invalid_argument,
                    "a service's name has 1 to 255 bytes, not " + std::to_string(service.size()));
    if (ours_open_ >= terms_.their_streams) {
        throw Error(ErrorKind::refused,
                    "allows " + std::to_string(terms_.their_streams) + " streams at once, and all are open",
                    peer_.short_name());
    }
    if (next_stream_ > 0xfffffff0U) {
        close("all stream numbers of this connection are used up");
        throw lost_error(end_cause_);
    }
    auto state = std::make_shared<StreamState>(executor_, next_stream_);
    next_stream_ += 2;
    state->credit = kFirstWindow;
    state->allowance = terms_.our_window;
    streams_.emplace(state->id, state);
    ++ours_open_;
    append_frame(outbox_, FrameType::open, state->id, as_bytes(service));
    wake_writer();
    return std::make_shared<StreamHandle>(shared_from_this(), state);
}

void Multiplexer::close(const std::string& reason) {
    if (ended_) return;
    append_frame(outbox_, FrameType::goodbye, 0, as_bytes(reason));
    fail_streams(reason);
    tasks_.spawn(give_up_closing());
}

awaitable<void> Multiplexer::give_up_closing() {
    const auto self = shared_from_this();
    co_await clock_.sleep_for(std::min(kGoodbyeTime, terms_.peer_timeout));
    throw lost_error(end_cause_);
}

Error Multiplexer::lost_error(const std::string& cause) const {
    return Error(ErrorKind::connection_lost, "the connection was lost: " + cause, peer_.short_name());
}

void Multiplexer::fail_streams(const std::string& cause) {
    ended_ = true;
    end_cause_ = cause;
    auto streams = std::move(streams_);
    streams_.clear();
    ready_.clear();
    const Error error = lost_error(cause);
    for (auto& [id, state] : streams) {
        drop_arriving(*state);  // whole messages stay readable
        if (!state->remote_finished) state->read_error = error;
        state->write_error = error;
        state->queued = false;
        state->arrived.notify();
        state->written.notify();
    }
    work_.notify();
}

void Multiplexer::finish(const StatePointer& state) {
    if (state->local_finished || state->write_error) return;
    state->local_finished = true;
    append_frame(outbox_, FrameType::finish, state->id);
    wake_writer();
    forget_if_ended(*state);
}

void Multiplexer::reset(const StatePointer& state, const std::string& reason) {
    if (!streams_.contains(state->id)) return;  // it has ended, or the connection has
    const Error error(ErrorKind::cancelled, "the stream was reset here: " + reason, peer_.short_name());
    state->write_error = error;
    state->read_error = error;
    append_frame(outbox_, FrameType::reset, state->id, as_bytes(reason));
    drop_incoming(*state);
    state->local_finished = state->remote_finished = true;
    forget_if_ended(*state);
    state->arrived.notify();
    state->written.notify();
    wake_writer();
}

void Multiplexer::handle_gone(const StatePointer& state) {
    if (state->incoming) --theirs_held_;
    reset(state, "the other side dropped the stream");
    drop_incoming(*state);
}

/// Frees what has arrived or is arriving on a stream and was not read.
void Multiplexer::drop_incoming(StreamState& state) {
    for (const Message& message : state.inbox) unread_ -= cost_of(message);
    state.inbox.clear();
    drop_arriving(state);
    account();
}

/// Tells the budget what this connection holds.
void Multiplexer::account() {
    share_.hold(unread_ + outbox_.size() + theirs_held_ * kStreamCost);
}

/// Frees all that was not read, and ends.
void Multiplexer::give_way() {
    const std::string reason = "takes more memory than there is for strangers";
    const Error error(ErrorKind::refused, reason, peer_.short_name());
    for (auto& [id, state] : streams_) {
        if (state->inbox.empty()) continue;
        state->read_error = error;  // also where the last message had come: what is missing must show
        drop_incoming(*state);
    }
    outbox_.clear();
    close(reason);
    account();
}

void Multiplexer::drop_arriving(StreamState& state) {
    if (!state.arriving) return;
    unread_ -= cost_of(*state.arriving) + state.control_left + state.payload_left;
    state.arriving.reset();
    account();
}

void Multiplexer::forget_if_ended(const StreamState& state) {
    if (!state.local_finished || !state.remote_finished) return;
    if (state.incoming) {
        theirs_open_ -= streams_.erase(state.id);
    } else {
        ours_open_ -= streams_.erase(state.id);
    }
}

ConnectionInfo Multiplexer::info() const {
    ConnectionInfo info;
    info.peer = peer_;
    info.remote_address = pipe_->remote_address();
    info.dialled_by_us = dialled_by_us_;
    info.bytes_sent = pipe_->bytes_sent();
    info.bytes_delivered = info.bytes_sent - std::min(info.bytes_sent, pipe_->bytes_on_the_way());
    info.bytes_received = pipe_->bytes_received();
    info.round_trip = round_trip_;
    return info;
}

void Multiplexer::send_ping() {
    ping_pending_ = true;
    ping_sent_ = clock_.now();
    append_frame_u64(outbox_, FrameType::ping, 0, ++ping_token_);
    wake_writer();
}

awaitable<void> Multiplexer::keep_alive() {
    const auto self = shared_from_this();
    send_ping();  // the first one measures the round trip
    TimePoint ping_due = clock_.now() + terms_.ping_interval;
    TimePoint silence_since = last_heard_;
    std::uint64_t received = pipe_->bytes_received();
    for (;;) {
        silence_since = std::max(silence_since, last_heard_);
        const TimePoint planned = std::min(ping_due, silence_since + terms_.peer_timeout);
        co_await clock_.sleep_until(planned);
        const TimePoint now = clock_.now();
        // If this wake-up itself is late, it was this process that stood still (stopped, or its thread was
        // busy), and what the peer sent meanwhile has not been read yet: count its silence anew.
        if (now - planned > terms_.ping_interval) silence_since = now;
        silence_since = std::max(silence_since, last_heard_);
        // On a slow line an encrypted record takes longer than the time-out to arrive, but its bytes trickle
        // in.
        if (std::exchange(received, pipe_->bytes_received()) != received) silence_since = now;
        if (now - silence_since >= terms_.peer_timeout) {
            throw lost_error("silent for " +
                             std::to_string((now - last_heard_) / std::chrono::milliseconds(1)) + " ms");
        }
        if (now >= ping_due) {
            if (now - last_heard_ >= terms_.ping_interval) send_ping();
            ping_due = std::max(now, last_heard_) + terms_.ping_interval;
        }
    }
}

// --- The caller's end.

StreamHandle::StreamHandle(std::shared_ptr<Multiplexer> owner, std::shared_ptr<StreamState> state)
    : peer_(owner->peer()), owner_(std::move(owner)), state_(std::move(state)) {}

StreamHandle::~StreamHandle() {
    owner_->handle_gone(state_);
}

awaitable<void> StreamHandle::write(ByteView control, ByteView payload) {
    return owner_->write(state_, control, payload);
}

awaitable<std::optional<Message>> StreamHandle::read() {
    return owner_->read(state_);
}

void StreamHandle::finish() {
    owner_->finish(state_);
}

void StreamHandle::reset(const std::string& reason) {
    owner_->reset(state_, reason);
}

}  // namespace shoal::net
