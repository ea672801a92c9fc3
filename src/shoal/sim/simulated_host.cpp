// The lines of a host: how frames leave, travel and arrive. simulated_dialling.cpp has how connections come
// and go.
#include "shoal/sim/simulated_host.h"

#include <algorithm>
#include <limits>

namespace shoal::sim {

SimulatedHost::SimulatedHost(SimulatedInternet& internet, const PeerId& id, HostSettings settings,
                             net::Endpoint endpoint)
    : internet_(internet),
      id_(id),
      settings_(settings),
      endpoint_(std::move(endpoint)),
      clock_(internet.simulation().make_clock()),
      resumed_(internet.simulation().executor()),
      tasks_(internet.simulation().executor()) {
    clock_.set_skew(settings.clock_skew);
}

awaitable<void> SimulatedHost::while_stopped() {
    const auto self = shared_from_this();
    while (stopped()) co_await resumed_.wait();
}

void SimulatedHost::set_rates(double upload_rate, double download_rate) {
    settings_.upload_rate = upload_rate;
    settings_.download_rate = download_rate;
}

// --- leaving
// ------------------------------------------------------------------------------------------------

void SimulatedHost::send(const std::shared_ptr<StreamEnd>& stream) {
    if (!stream->connection->up[static_cast<std::size_t>(stream->side)]) return;
    queue(stream);
    pump();
}

void SimulatedHost::queue(const std::shared_ptr<StreamEnd>& stream) {
    if (stream->queued || stream->outbox.empty() || !has_room(*stream)) return;
    stream->queued = true;
    senders_.push(stream->flow(), stream);
}

/// As over TCP, little more is under way than keeps the receiver's line busy; the uplink is for others then.
bool SimulatedHost::has_room(const StreamEnd& stream) const {
    const Connection& connection = *stream.connection;
    const SimulatedHost& to = *connection.hosts[static_cast<std::size_t>(1 - stream.side)];
    const double rate = to.settings_.download_rate;
    if (rate <= 0 || to.settings_.deep_queue) return true;
    const Duration way = connection.one_way + internet_.settings().maximum_jitter;
    const auto enough = static_cast<std::uint64_t>(rate * seconds(way + 4 * kSegmentTime));
    return stream.under_way < std::max<std::uint64_t>(enough, 4 * kSmallestSegment);
}

void SimulatedHost::send_at_once(Connection& connection, int from_side, Frame frame) {
    const auto from = static_cast<std::size_t>(from_side);
    if (!connection.up[from] || crashed_) return;
    const auto known = connections_.find(connection.hosts[1 - from]->id());
    if (known == connections_.end() || known->second.get() != &connection) return;
    propagate(known->second, 1 - from_side, std::move(frame));
}

void SimulatedHost::pump() {
    while (!uplink_busy_ && !stopped() && !senders_.empty()) {
        const auto stream = senders_.pop();
        stream->queued = false;
        if (stream->outbox.empty()) continue;
        Frame frame = take_segment(*stream);
        stream->under_way += frame.bytes;
        senders_.charge(stream->flow(), frame.bytes);
        queue(stream);
        if (settings_.upload_rate <= 0) {
            depart(stream, std::move(frame));
            continue;
        }
        uplink_busy_ = true;
        const Duration busy = from_seconds(static_cast<double>(frame.bytes) / settings_.upload_rate);
        internet_.simulation().timeline()->after(
            busy, [self = shared_from_this(), stream, frame = std::move(frame)]() mutable {
                self->uplink_busy_ = false;
                self->depart(stream, std::move(frame));
                self->pump();
            });
    }
}

std::uint64_t SimulatedHost::segment_limit(const StreamEnd& stream) const {
    // With unlimited lines a message travels in one piece: nobody could tell the difference.
    std::uint64_t limit = std::numeric_limits<std::uint64_t>::max();
    const SimulatedHost& to = *stream.connection->hosts[static_cast<std::size_t>(1 - stream.side)];
    for (const double rate : {settings_.upload_rate, to.settings_.download_rate}) {
        if (rate <= 0) continue;
        const auto in_time = static_cast<std::uint64_t>(rate * seconds(kSegmentTime));
        limit = std::min({limit, std::max<std::uint64_t>(in_time, kSmallestSegment),
                          std::uint64_t{internet_.settings().segment_bytes}});
    }
    for (const Hook& hook : hooks_)
        if (hook.counts_bytes && (hook.service.empty() || hook.service == stream.service))
            limit = std::min(limit, hook.remaining);
    return limit;
}

Frame SimulatedHost::take_segment(StreamEnd& stream) {
    Frame& first = stream.outbox.front();
    const std::uint64_t limit = segment_limit(stream);
    if (first.bytes > limit) {
        first.bytes -= limit;
        return {Frame::Kind::part, stream.id, static_cast<std::size_t>(limit)};
    }
    Frame frame = std::move(first);
    stream.outbox.pop_front();
    return frame;
}

void SimulatedHost::depart(const std::shared_ptr<StreamEnd>& stream, Frame frame) {
    const auto side = static_cast<std::size_t>(stream->side);
    Connection& connection = *stream->connection;
    if (crashed_ || !connection.up[side]) return;
    traffic_.bytes_sent += frame.bytes;
    connection.bytes_sent[side] += frame.bytes;
    if (frame.kind == Frame::Kind::message) ++traffic_.messages_sent;
    const Frame::Kind kind = frame.kind;
    const std::size_t bytes = frame.bytes;
    propagate(stream->connection, 1 - stream->side, std::move(frame));
    forget_if_ended(stream);
    if (!hooks_.empty()) run_hooks(stream->service, kind, bytes);
}

void SimulatedHost::run_hooks(const std::string& service, Frame::Kind kind, std::size_t bytes) {
    std::vector<std::function<void()>> due;
    for (auto hook = hooks_.begin(); hook != hooks_.end();) {
        const bool matches = hook->service.empty() || hook->service == service;
        const std::uint64_t amount = !matches                       ? 0
                                     : hook->counts_bytes           ? bytes
                                     : kind == Frame::Kind::message ? 1
                                                                    : 0;
        hook->remaining -= std::min(hook->remaining, amount);
        if (hook->remaining > 0) {
            ++hook;
            continue;
        }
        due.push_back(std::move(hook->action));
        hook = hooks_.erase(hook);
    }
    for (const auto& action : due) action();
}

// --- travelling and arriving
// ----------------------------------------------------------------------------------

void SimulatedHost::propagate(const ConnectionPointer& connection, int to_side, Frame frame) {
    const auto to = static_cast<std::size_t>(to_side);
    Timeline& timeline = *internet_.simulation().timeline();
    Duration way = connection->one_way;
    if (const auto jitter = internet_.settings().maximum_jitter; jitter.count() > 0)
        way += Duration(internet_.random_.below(static_cast<std::uint64_t>(jitter.count())));
    const TimePoint arrival = std::max(timeline.now() + way, connection->last_arrival[to]);
    connection->last_arrival[to] = arrival;
    timeline.at(arrival, [connection, to_side, frame = std::move(frame)]() mutable {
        const auto receiver = connection->hosts[static_cast<std::size_t>(to_side)];
        receiver->arrive(connection, to_side, std::move(frame));
    });
}

bool SimulatedHost::is_held(const Connection& connection) const {
    return stopped() || !internet_.is_reachable(connection.hosts[0]->id(), connection.hosts[1]->id());
}

void SimulatedHost::arrive(const ConnectionPointer& connection, int side, Frame frame) {
    auto& held = connection->held[static_cast<std::size_t>(side)];
    if (crashed_) return;
    if (is_held(*connection) || !held.empty()) {
        held.push_back(std::move(frame));
        return;
    }
    if (settings_.download_rate <= 0 && !downlink_busy_) return deliver(connection, side, std::move(frame));
    const FlowKey flow = settings_.deep_queue ? FlowKey() : FlowKey{connection->number, frame.stream};
    const std::size_t bytes = frame.bytes;
    if (frame.kind == Frame::Kind::closed) {
        downlink_.push_last(flow.group, {connection, side, std::move(frame)});
    } else {
        downlink_.push(flow, {connection, side, std::move(frame)});
        downlink_.charge(flow, bytes);
    }
    receive_next();
}

/// Puts the next frame on the downlink.
void SimulatedHost::receive_next() {
    if (downlink_busy_ || downlink_.empty()) return;
    downlink_busy_ = true;
    Arrived next = downlink_.pop();
    const double rate = settings_.download_rate;
    const Duration busy =
        rate > 0 ? from_seconds(static_cast<double>(next.frame.bytes) / rate) : Duration::zero();
    internet_.simulation().timeline()->after(
        busy, [self = shared_from_this(), next = std::move(next)]() mutable {
            self->downlink_busy_ = false;
            self->deliver(next.connection, next.side, std::move(next.frame));
            self->receive_next();
        });
}

void SimulatedHost::release_held() {
    if (stopped()) return;
    const auto connections = connections_;
    for (const auto& [peer, connection] : connections) {
        const int side = connection->side_of(*this);
        const auto here = static_cast<std::size_t>(side);
        if (is_held(*connection)) continue;
        for (Frame& frame : std::exchange(connection->passed[here], {}))
            deliver(connection, side, std::move(frame));
        for (Frame& frame : std::exchange(connection->held[here], {}))
            arrive(connection, side, std::move(frame));
    }
}

void SimulatedHost::deliver(const ConnectionPointer& connection, int side, Frame frame) {
    const auto here = static_cast<std::size_t>(side);
    if (crashed_ || !connection->up[here]) return;
    if (is_held(*connection) || !connection->passed[here].empty()) {
        connection->passed[here].push_back(std::move(frame));
        return;
    }
    traffic_.bytes_received += frame.bytes;
    connection->bytes_arrived[here] += frame.bytes;
    const PeerId& from = connection->hosts[1 - here]->id();
    if (frame.kind != Frame::Kind::part && frame.kind != Frame::Kind::credit)
        simulation().trace().note(clock_.now(), "deliver", std::hash<PeerId>()(from),
                                  std::hash<PeerId>()(id_),
                                  frame.stream * 16 + static_cast<std::uint64_t>(frame.kind));
    const bool counted = frame.kind != Frame::Kind::credit && frame.kind != Frame::Kind::reset &&
                         frame.kind != Frame::Kind::closed;  // these pass the queue of the uplink
    const std::uint64_t stream = frame.stream;
    const std::size_t bytes = frame.bytes;
    take(connection, side, std::move(frame));
    if (counted) connection->hosts[1 - here]->has_arrived(connection, 1 - side, stream, bytes);
}

/// Of a stream of this host, at its other end: there is room for more.
void SimulatedHost::has_arrived(const ConnectionPointer& connection, int side, std::uint64_t number,
                                std::size_t bytes) {
    const auto& streams = connection->streams[static_cast<std::size_t>(side)];
    const auto found = streams.find(number);
    if (found == streams.end()) return;
    const auto stream = found->second;
    stream->under_way -= std::min(stream->under_way, bytes);
    if (!stream->outbox.empty() && !stream->queued) send(stream);
}

void SimulatedHost::take(const ConnectionPointer& connection, int side, Frame frame) {
    const auto here = static_cast<std::size_t>(side);
    if (frame.kind == Frame::Kind::closed) return lose(connection, frame.text, false);
    if (frame.kind == Frame::Kind::open) return accept(connection, side, frame);
    const auto found = connection->streams[here].find(frame.stream);
    if (found == connection->streams[here].end()) return;
    const auto stream = found->second;
    deliver_to_stream(connection, stream, std::move(frame));
    forget_if_ended(stream);
}

void SimulatedHost::deliver_to_stream(const ConnectionPointer& connection,
                                      const std::shared_ptr<StreamEnd>& stream, Frame frame) {
    const auto refused = [&connection, &stream, &frame] {
        const SimulatedHost& other = *connection->hosts[static_cast<std::size_t>(1 - stream->side)];
        return std::make_exception_ptr(Error(ErrorKind::refused, frame.text, other.id().short_name()));
    };
    switch (frame.kind) {
        case Frame::Kind::message:
            ++traffic_.messages_received;
            if (stream->abandoned || stream->finished_in) return;
            stream->inbox.push_back(std::move(*frame.message));
            stream->readable.notify();
            return;
        case Frame::Kind::finish:
            stream->finished_in = true;
            stream->readable.notify();
            return;
        case Frame::Kind::credit:
            stream->unacknowledged -= std::min(stream->unacknowledged, frame.credit);
            stream->writable.notify();
            return;
        case Frame::Kind::stop:
            stream->write_error = refused();
            stream->finished_out = true;
            stream->outbox.clear();
            stream->writable.notify();
            return;
        case Frame::Kind::reset:
            stream->fail(refused(), false);
            return;
        case Frame::Kind::open:
        case Frame::Kind::part:
        case Frame::Kind::closed:
            return;
    }
}

void SimulatedHost::forget_if_ended(const std::shared_ptr<StreamEnd>& stream) {
    if (stream->ended())
        stream->connection->streams[static_cast<std::size_t>(stream->side)].erase(stream->id);
}

// --- streams that others open
// ---------------------------------------------------------------------------------

void SimulatedHost::accept(const ConnectionPointer& connection, int side, const Frame& frame) {
    const auto here = static_cast<std::size_t>(side);
    const auto handler = handlers_.find(frame.text);
    if (handler == handlers_.end() || gone_) {
        Frame refusal{
            Frame::Kind::reset, frame.stream, kMessageOverhead, {}, "unknown service " + frame.text};
        return send_at_once(*connection, side, std::move(refusal));
    }
    auto stream =
        std::make_shared<StreamEnd>(connection, side, frame.stream, frame.text, simulation().executor());
    connection->streams[here].emplace(frame.stream, stream);
    tasks_.spawn(run_handler(handler->second, std::make_shared<SimulatedStream>(stream)));
}

awaitable<void> SimulatedHost::run_handler(net::StreamHandler handler, net::StreamPointer stream) {
    const auto self = shared_from_this();
    std::string reason;
    try {
        awaitable<void> serving = handler(stream);
        co_await std::move(serving);
        co_return;
    } catch (const std::exception& error) {
        reason = error.what();
    }
    stream->reset(reason);
}

void SimulatedHost::serve(std::string service, net::StreamHandler handler) {
    if (handler)
        handlers_[std::move(service)] = std::move(handler);
    else
        handlers_.erase(service);
}

}  // namespace shoal::sim
