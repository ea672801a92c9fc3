#include "shoal/sim/simulated_connection.h"

#include "shoal/sim/simulated_host.h"

namespace shoal::sim {

namespace {

std::size_t size_on_wire(const net::Message& message, const SimulatedHost& host) {
    const double payload =
        host.internet_settings().payload_scale * static_cast<double>(message.payload.size());
    return message.control.size() + static_cast<std::size_t>(payload) + kMessageOverhead;
}

}  // namespace

StreamEnd::StreamEnd(std::shared_ptr<Connection> on, int of_side, std::uint64_t stream_id,
                     std::string service_name, const asio::any_io_executor& executor)
    : connection(std::move(on)),
      side(of_side),
      id(stream_id),
      service(std::move(service_name)),
      readable(executor),
      writable(executor) {}

FlowKey StreamEnd::flow() const {
    return {connection->number, id};
}

void StreamEnd::fail(const std::exception_ptr& error, bool keep_inbox) {
    if (!write_error) write_error = error;
    if (!read_error && !finished_in) read_error = error;
    if (!keep_inbox) inbox.clear();
    outbox.clear();
    finished_in = finished_out = true;
    readable.notify();
    writable.notify();
}

SimulatedStream::SimulatedStream(std::shared_ptr<StreamEnd> end) : end_(std::move(end)) {}

SimulatedStream::~SimulatedStream() {
    end_->abandoned = true;
    end_->inbox.clear();
    if (end_->finished_in && end_->finished_out) return;
    if (!end_->finished_out) {
        reset("the other side has dropped the stream");
        return;
    }
    // All is written; we only read no more. In order behind what is still in the outbox.
    end_->finished_in = true;
    auto& host = *end_->connection->hosts[static_cast<std::size_t>(end_->side)];
    end_->outbox.push_back(
        {Frame::Kind::stop, end_->id, kMessageOverhead, {}, "the other side has stopped reading"});
    host.send(end_);
}

const PeerId& SimulatedStream::peer() const {
    return end_->connection->hosts[static_cast<std::size_t>(1 - end_->side)]->id();
}

awaitable<void> SimulatedStream::write(ByteView control, ByteView payload) {
    if (control.size() > net::kMaximumControlBytes || payload.size() > net::kMaximumPayloadBytes)
        throw Error(ErrorKind::invalid_argument, "a message of a stream may not be that large");
    const auto end = end_;
    const auto host = end->connection->hosts[static_cast<std::size_t>(end->side)];
    auto message = std::make_shared<net::Message>(Bytes(control.begin(), control.end()),
                                                  Bytes(payload.begin(), payload.end()));
    const std::size_t bytes = size_on_wire(*message, *host);
    const std::size_t window = host->settings().stream_window;
    for (;;) {
        co_await host->while_stopped();
        if (end->write_error) std::rethrow_exception(end->write_error);
        if (end->finished_out)
            throw Error(ErrorKind::invalid_argument, "nothing can be written to a finished stream");
        if (end->unacknowledged == 0 || end->unacknowledged + bytes <= window) break;
        co_await end->writable.wait();
    }
    end->unacknowledged += bytes;
    end->outbox.push_back({Frame::Kind::message, end->id, bytes, std::move(message)});
    host->send(end);
}

awaitable<std::optional<net::Message>> SimulatedStream::read() {
    const auto end = end_;
    const auto host = end->connection->hosts[static_cast<std::size_t>(end->side)];
    for (;;) {
        co_await host->while_stopped();
        if (!end->inbox.empty()) break;
        if (end->read_error) std::rethrow_exception(end->read_error);
        if (end->finished_in) co_return std::nullopt;
        co_await end->readable.wait();
    }
    std::optional<net::Message> message(std::move(end->inbox.front()));
    end->inbox.pop_front();
    Frame credit{Frame::Kind::credit, end->id, kMessageOverhead};
    credit.credit = size_on_wire(*message, *host);
    host->send_at_once(*end->connection, end->side, std::move(credit));
    co_return message;
}

void SimulatedStream::finish() {
    if (end_->finished_out) return;
    end_->finished_out = true;
    auto& host = *end_->connection->hosts[static_cast<std::size_t>(end_->side)];
    end_->outbox.push_back({Frame::Kind::finish, end_->id, kMessageOverhead});
    host.send(end_);
}

void SimulatedStream::reset(const std::string& reason) {
    if (end_->finished_in && end_->finished_out && end_->outbox.empty()) return;
    auto& host = *end_->connection->hosts[static_cast<std::size_t>(end_->side)];
    const bool never_opened = !end_->outbox.empty() && end_->outbox.front().kind == Frame::Kind::open;
    const Error error(ErrorKind::cancelled, "the stream was reset on this side: " + reason);
    end_->fail(std::make_exception_ptr(error), false);
    Frame frame{Frame::Kind::reset, end_->id, kMessageOverhead, {}, reason};
    if (!never_opened) host.send_at_once(*end_->connection, end_->side, std::move(frame));
    host.forget_if_ended(end_);
}

}  // namespace shoal::sim
