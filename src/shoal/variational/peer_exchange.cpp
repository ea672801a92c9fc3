#include "shoal/variational/peer_exchange.h"

#include <algorithm>

#include "shoal/base/error.h"
#include "shoal/net/rpc.h"
#include "shoal/proto/variational.pb.h"

namespace shoal::variational {
namespace {

using Header = proto::ExchangeHeader;

constexpr const char* kService = "variational/exchange";
constexpr Duration kDialPause = std::chrono::milliseconds(50);

std::size_t rank_of(const PeerId& self, const std::vector<PeerId>& devices) {
    const auto found = std::find(devices.begin(), devices.end(), self);
    if (found == devices.end())
        throw Error(ErrorKind::invalid_argument, "this process is none of the devices");
    std::vector<PeerId> sorted = devices;
    std::sort(sorted.begin(), sorted.end());
    if (std::adjacent_find(sorted.begin(), sorted.end()) != sorted.end())
        throw Error(ErrorKind::invalid_argument, "a peer is named as two devices");
    return static_cast<std::size_t>(found - devices.begin());
}

/// What a stranger has written, fit for a terminal.
std::string printable(ByteView text) {
    constexpr std::size_t kShown = 300;
    std::string shown;
    for (const std::uint8_t byte : text.first(std::min(text.size(), kShown)))
        shown += byte >= 0x20 && byte < 0x7f ? static_cast<char>(byte) : '?';
    return text.size() > kShown ? shown + "..." : shown;
}

}  // namespace

/// What the coroutines of one exchange share.
struct PeerExchange::Underway {
    Underway(const Round& r, const Message& m, const asio::any_io_executor& executor, std::size_t devices)
        : round(r), message(m), changed(executor), parts(r.senders.size()), answers(devices) {}

    bool speaks(std::size_t device) const {
        return std::binary_search(round.senders.begin(), round.senders.end(), device);
    }
    /// Where the device's part stands among those of all senders.
    std::size_t place_of(std::size_t device) const {
        const auto found = std::lower_bound(round.senders.begin(), round.senders.end(), device);
        return static_cast<std::size_t>(found - round.senders.begin());
    }

    const Round& round;
    const Message& message;
    Signal changed;
    std::vector<Bytes> parts;  // for the own share, by place
    std::size_t arrived = 0;
    std::vector<Bytes> answers;  // by share
    bool answered = false;       // the own one is made
};

PeerExchange::PeerExchange(net::Network& network, Clock& clock, PeerExchangeSettings settings)
    : Exchange(settings.devices.size(), settings.devices.size(), {rank_of(network.self(), settings.devices)}),
      network_(network),
      clock_(clock),
      settings_(std::move(settings)),
      rank_(local_devices().front()),
      connected_(network.executor()),
      streams_(settings_.devices.size()),
      accepted_(settings_.devices.size(), false) {
    network_.serve(kService, [this](net::StreamPointer stream) { return accept(std::move(stream)); });
}

PeerExchange::~PeerExchange() {
    network_.serve(kService, net::StreamHandler());
}

std::string PeerExchange::name_of(std::size_t device) const {
    return Exchange::name_of(device) + " (peer " + settings_.devices[device].short_name() + ")";
}

// --- connecting -------------------------------------------------------------------------------------------

awaitable<void> PeerExchange::accept(net::StreamPointer stream) {
    const auto found = std::find(settings_.devices.begin(), settings_.devices.end(), stream->peer());
    const auto device = static_cast<std::size_t>(found - settings_.devices.begin());
    if (found == settings_.devices.end() || device <= rank_) {
        stream->reset("no device that may open a stream here");
        co_return;
    }
    if (accepted_[device]) {
        stream->reset("there is a stream already");
        co_return;
    }
    accepted_[device] = true;
    try {
        co_await write(*stream, Header::WELCOME, 0, ByteView());
    } catch (...) {
        accepted_[device] = false;  // it may come again
        throw;
    }
    streams_[device] = stream;
    connected_.notify();
}

awaitable<net::StreamPointer> PeerExchange::try_to_open(std::size_t device) {
    net::StreamPointer stream = co_await network_.open(settings_.devices[device], kService);
    const std::optional<net::Message> welcome = co_await stream->read();
    if (!welcome) throw Error(ErrorKind::refused, "ended the stream", stream->peer().short_name());
    check_header(device, *welcome, Header::WELCOME);
    co_return stream;
}

/// Processes do not start at the same moment: who does not listen yet, or not serve yet, is asked again.
awaitable<void> PeerExchange::open_to(std::size_t device) {
    while (!streams_[device]) {
        try {
            streams_[device] = co_await try_to_open(device);
            continue;
        } catch (const Error& error) {
            if (error.kind() == ErrorKind::cancelled || error.kind() == ErrorKind::protocol_violation) throw;
        }
        co_await clock_.sleep_for(kDialPause);
    }
}

awaitable<void> PeerExchange::wait_for_all() {
    TaskGroup opening(network_.executor());
    for (std::size_t device = 0; device < rank_; ++device) opening.spawn(open_to(device));
    co_await opening.join();
    while (std::count(streams_.begin(), streams_.end(), nullptr) > 1) co_await connected_.wait();
}

awaitable<void> PeerExchange::connect() {
    std::exception_ptr failure;
    try {
        const TimePoint limit = clock_.now() + settings_.connect_limit;
        awaitable<void> waiting = wait_for_all();
        co_await with_deadline(clock_, limit, std::move(waiting), "waiting for all devices");
    } catch (...) {
        failure = std::current_exception();
    }
    if (!failure) co_return;
    std::string missing;
    for (std::size_t device = 0; device < devices(); ++device)
        if (device != rank_ && !streams_[device]) missing += (missing.empty() ? "" : ", ") + name_of(device);
    const Error error(ErrorKind::timed_out, describe(failure) + "; not connected: " + missing);
    break_off(std::make_exception_ptr(error));
    if (is_cancellation(failure)) std::rethrow_exception(failure);
    throw Error(error);
}

// --- messages ---------------------------------------------------------------------------------------------

awaitable<void> PeerExchange::write(net::Stream& stream, int kind, std::uint64_t sequence, ByteView bytes) {
    Header header;
    header.set_kind(static_cast<Header::Kind>(kind));
    header.set_sequence(sequence);
    const Bytes control = net::to_control(header);
    std::size_t written = 0;
    do {
        const ByteView piece =
            bytes.subspan(written, std::min(bytes.size() - written, net::kMaximumPayloadBytes));
        co_await stream.write(control, piece);
        written += piece.size();
    } while (written < bytes.size());
    payload_sent_ += bytes.size();
}

awaitable<void> PeerExchange::tell(std::size_t device, int kind, ByteView bytes) {
    try {
        co_await write(*streams_[device], kind, sequence_, bytes);
    } catch (const Error& error) {
        throw_lost(device, error);
    }
}

/// What a stream reports names a peer; people think in devices, and want to know when.
void PeerExchange::throw_lost(std::size_t device, const Error& error) const {
    if (error.kind() == ErrorKind::cancelled) throw Error(error);
    throw Error(error.kind(),
                name_of(device) + " is lost in exchange " + std::to_string(sequence_) + ": " + error.what());
}

void PeerExchange::check_header(std::size_t device, const net::Message& message, int kind) const {
    const Header header = net::parse_control<Header>(message, settings_.devices[device]);
    const std::uint64_t expected = kind == Header::WELCOME ? 0 : sequence_;
    if (header.kind() != kind || header.sequence() != expected)
        throw Error(ErrorKind::protocol_violation,
                    name_of(device) + " sent message " + std::to_string(header.sequence()) + " of kind " +
                        std::to_string(header.kind()) + " in place of " + std::to_string(expected) +
                        " of kind " + std::to_string(kind));
}

awaitable<net::Message> PeerExchange::read_message(std::size_t device) {
    const TimePoint deadline = clock_.now() + settings_.patience;
    try {
        awaitable<std::optional<net::Message>> reading = streams_[device]->read();
        std::optional<net::Message> message =
            co_await with_deadline(clock_, deadline, std::move(reading), "waiting for its message");
        if (!message) throw Error(ErrorKind::connection_lost, "it has left");
        co_return std::move(*message);
    } catch (const Error& error) {
        throw_lost(device, error);
    }
}

awaitable<Bytes> PeerExchange::read(std::size_t device, int kind, std::size_t size) {
    Bytes whole;
    do {
        const net::Message message = co_await read_message(device);
        check_header(device, message, kind);
        const std::size_t expected = std::min(size - whole.size(), net::kMaximumPayloadBytes);
        if (message.payload.size() != expected)
            throw Error(ErrorKind::protocol_violation, name_of(device) + " sent " +
                                                           std::to_string(message.payload.size()) +
                                                           " bytes in place of " + std::to_string(expected));
        whole.insert(whole.end(), message.payload.begin(), message.payload.end());
    } while (whole.size() < size);
    co_return whole;
}

// --- an exchange ------------------------------------------------------------------------------------------

awaitable<void> PeerExchange::send(std::size_t device, Underway& underway) {
    if (underway.speaks(rank_)) co_await tell(device, Header::PART, underway.message[device]);
    while (!underway.answered) co_await underway.changed.wait();
    co_await tell(device, Header::ANSWER, underway.answers[rank_]);
}

awaitable<void> PeerExchange::receive(std::size_t device, Underway& underway) {
    if (underway.speaks(device)) {
        const std::size_t size = underway.round.part_size(device, rank_);
        underway.parts[underway.place_of(device)] = co_await read(device, Header::PART, size);
        ++underway.arrived;
        underway.changed.notify();
    }
    underway.answers[device] = co_await read(device, Header::ANSWER, underway.round.answer_size(device));
}

awaitable<void> PeerExchange::answer(Underway& underway) {
    if (underway.speaks(rank_)) {
        underway.parts[underway.place_of(rank_)] = underway.message[rank_];
        ++underway.arrived;
    }
    while (underway.arrived < underway.parts.size()) co_await underway.changed.wait();
    const std::vector<ByteView> parts(underway.parts.begin(), underway.parts.end());
    underway.answers[rank_] = underway.round.answer(rank_, parts);
    underway.answered = true;
    underway.changed.notify();
}

awaitable<std::vector<Bytes>> PeerExchange::exchange(const Round& round,
                                                     const std::vector<Message>& messages) {
    require_whole();
    Underway underway(round, messages.front(), network_.executor(), devices());
    std::vector<awaitable<void>> tasks;
    tasks.push_back(answer(underway));
    for (std::size_t device = 0; device < devices(); ++device) {
        if (device == rank_) continue;
        tasks.push_back(send(device, underway));
        tasks.push_back(receive(device, underway));
    }
    co_await run_all(std::move(tasks));
    ++sequence_;
    co_return std::move(underway.answers);
}

awaitable<void> PeerExchange::compare_task(std::size_t device, std::string task) {
    co_await tell(device, Header::TASK, as_bytes(task));
    const net::Message message = co_await read_message(device);
    check_header(device, message, Header::TASK);
    if (message.payload.size() > kLongestTask)
        throw Error(ErrorKind::protocol_violation, name_of(device) + " sent a task that is too long");
    if (as_text(message.payload) != task)
        throw Error(ErrorKind::refused, name_of(device) + " means to run '" + printable(message.payload) +
                                            "', this process '" + printable(as_bytes(task)) + "'");
}

awaitable<void> PeerExchange::agree(std::string task) {
    require_whole();
    if (task.size() > kLongestTask) throw Error(ErrorKind::invalid_argument, "the task's text is too long");
    std::vector<awaitable<void>> tasks;
    for (std::size_t device = 0; device < devices(); ++device)
        if (device != rank_) tasks.push_back(compare_task(device, task));
    co_await run_all(std::move(tasks));
    ++sequence_;
}

awaitable<void> PeerExchange::end_stream(std::size_t device) {
    streams_[device]->finish();
    awaitable<std::optional<net::Message>> reading = streams_[device]->read();
    const TimePoint deadline = clock_.now() + settings_.patience;
    const std::optional<net::Message> more =
        co_await with_deadline(clock_, deadline, std::move(reading), "waiting for " + name_of(device));
    if (more) throw Error(ErrorKind::protocol_violation, name_of(device) + " goes on after the end");
}

awaitable<void> PeerExchange::leave() {
    require_whole();
    std::vector<awaitable<void>> tasks;
    for (std::size_t device = 0; device < devices(); ++device)
        if (device != rank_) tasks.push_back(end_stream(device));
    co_await run_all(std::move(tasks));
    broken_ = "this process has left";
}

// --- failure ----------------------------------------------------------------------------------------------

awaitable<void> PeerExchange::run_all(std::vector<awaitable<void>> tasks) {
    TaskGroup group(network_.executor());
    for (awaitable<void>& task : tasks) group.spawn(std::move(task));
    std::exception_ptr failure;
    try {
        co_await group.join();
    } catch (...) {
        failure = std::current_exception();
    }
    if (!failure) co_return;
    break_off(failure);
    std::rethrow_exception(failure);
}

void PeerExchange::require_whole() const {
    if (!broken_.empty())
        throw Error(ErrorKind::invalid_argument, "the exchange has ended before: " + broken_);
    if (std::count(streams_.begin(), streams_.end(), nullptr) > 1)
        throw Error(ErrorKind::invalid_argument, "the exchange is not connected yet");
}

/// The others learn the reason, and with it who was lost first.
void PeerExchange::break_off(const std::exception_ptr& failure) {
    broken_ = describe(failure);
    for (const net::StreamPointer& stream : streams_)
        if (stream) stream->reset(broken_);
}

}  // namespace shoal::variational
