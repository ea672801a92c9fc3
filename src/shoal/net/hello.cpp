#include "shoal/net/hello.h"

#include <algorithm>
#include <shoal/proto/net.pb.h>
#include <utility>

#include "shoal/base/error.h"
#include "shoal/net/frame.h"

namespace shoal::net {
namespace {

constexpr int kMaximumSettings = 256;
constexpr std::size_t kMaximumNameBytes = 256;
constexpr std::size_t kMaximumValueBytes = 4096;

[[noreturn]] void malformed(const std::string& what) {
    throw Error(ErrorKind::protocol_violation, "sent a malformed hello: " + what);
}

/// A value for a message: not too long, nothing that could garble a terminal.
std::string shown(std::string_view value) {
    constexpr std::size_t kLongest = 100;
    std::string text = printable(as_bytes(value.substr(0, kLongest)));
    return value.size() > kLongest ? text + "..." : text;
}

const std::string* value_of(const AgreedSettings& agreed, const std::string& name) {
    for (const auto& [other, value] : agreed)
        if (other == name) return &value;
    return nullptr;
}

/// One frame after the other, as long as the handshake lasts.
class FrameReader {
  public:
    explicit FrameReader(BytePipe& pipe) : pipe_(pipe) {}

    /// The next frame's header; its body is in body().
    awaitable<FrameHeader> next() {
        co_await fill(kFrameHeaderBytes);
        const std::span<const std::uint8_t, kFrameHeaderBytes> bytes(bytes_.data(), kFrameHeaderBytes);
        const FrameHeader header = decode_header(bytes);
        const bool expected = header.type == FrameType::hello || header.type == FrameType::welcome ||
                              header.type == FrameType::refuse;
        if (!expected) throw Error(ErrorKind::protocol_violation, "did not begin with a hello");
        co_await fill(kFrameHeaderBytes + header.length);
        const auto start = bytes_.begin() + kFrameHeaderBytes;
        body_.assign(start, start + header.length);
        bytes_.erase(bytes_.begin(), start + header.length);
        co_return header;
    }
    ByteView body() const { return body_; }
    Bytes take_rest() { return std::exchange(bytes_, {}); }

  private:
    awaitable<void> fill(std::size_t count) {
        while (bytes_.size() < count) {
            const ByteView more = co_await pipe_.read();
            bytes_.insert(bytes_.end(), more.begin(), more.end());
        }
    }
    BytePipe& pipe_;
    Bytes bytes_, body_;
};

awaitable<void> send(BytePipe& pipe, Bytes bytes) {
    OutgoingBatch batch;
    batch.begin(bytes);
    pipe.stage(batch);
    co_await pipe.flush(batch);
}

awaitable<void> send_refusal(BytePipe& pipe, std::string reason) {
    Bytes frame;
    append_frame(frame, FrameType::refuse, 0, as_bytes(reason));
    co_await send(pipe, std::move(frame));
    pipe.finish();
}

Greeting expect_greeting(const FrameHeader& header, ByteView body) {
    if (header.type == FrameType::refuse) throw Error(ErrorKind::refused, "refuses us: " + printable(body));
    if (header.type != FrameType::hello) malformed("another frame came instead");
    return parse_greeting(body);
}

}  // namespace

Digest hash_of(const AgreedSettings& agreed) {
    Sha256 hash;
    const auto add = [&hash](const std::string& text) {
        std::array<std::uint8_t, 4> length{};
        put_u32(length.data(), static_cast<std::uint32_t>(text.size()));
        hash.update(length);
        hash.update(as_bytes(text));
    };
    for (const auto& [name, value] : agreed) {
        add(name);
        add(value);
    }
    return hash.finish();
}

Bytes serialise(const Greeting& greeting) {
    proto::Hello hello;
    hello.set_protocol_version(greeting.protocol_version);
    if (!greeting.observer())
        hello.set_agreed_hash(greeting.agreed_hash.bytes.data(), greeting.agreed_hash.bytes.size());
    bool fits = greeting.agreed.size() <= kMaximumSettings;
    for (const auto& [name, value] : greeting.agreed) {
        fits = fits && name.size() <= kMaximumNameBytes && value.size() <= kMaximumValueBytes;
        proto::AgreedSetting& setting = *hello.add_agreed();
        setting.set_name(name);
        setting.set_value(value);
    }
    hello.set_listen_port(greeting.listen_port);
    hello.set_software("shoal");
    hello.set_instance(greeting.instance);
    hello.set_stream_window(greeting.stream_window);
    hello.set_maximum_streams(static_cast<std::uint32_t>(greeting.maximum_streams));
    hello.set_link(greeting.lane.link);
    hello.set_lane(greeting.lane.lane);
    hello.set_lanes(greeting.lane.lanes);
    const std::string text = hello.SerializeAsString();
    if (!fits || text.size() > kMaximumHelloBytes) {
        throw Error(
            ErrorKind::invalid_argument,
            "the settings on which peers must agree are too many or too long for a handshake (256 settings, "
            "4 KiB each, 64 KiB together)");
    }
    return to_bytes(text);
}

Greeting parse_greeting(ByteView body) {
    proto::Hello hello;
    if (!hello.ParseFromArray(body.data(), static_cast<int>(body.size()))) malformed("it is no protobuf");
    Greeting greeting;
    greeting.protocol_version = hello.protocol_version();
    if (greeting.protocol_version != kProtocolVersion) return greeting;  // the rest may mean anything
    if (hello.agreed_size() > kMaximumSettings) malformed("too many settings");
    for (const proto::AgreedSetting& setting : hello.agreed()) {
        if (setting.name().size() > kMaximumNameBytes || setting.value().size() > kMaximumValueBytes)
            malformed("a setting is too long");
        greeting.agreed.emplace_back(setting.name(), setting.value());
    }
    if (!greeting.agreed.empty()) greeting.agreed_hash = Digest::from_bytes(as_bytes(hello.agreed_hash()));
    if (hello.listen_port() > 65535) malformed("its port");
    greeting.listen_port = static_cast<std::uint16_t>(hello.listen_port());
    greeting.instance = hello.instance();
    if (hello.stream_window() < kMinimumWindow || hello.stream_window() > kMaximumWindow)
        malformed("its window");
    greeting.stream_window = hello.stream_window();
    greeting.maximum_streams = hello.maximum_streams();
    greeting.lane = LaneNumber(hello.link(), hello.lane(), std::max(hello.lanes(), 1U));
    if (greeting.lane.lanes > kMaximumLanes || greeting.lane.lane >= greeting.lane.lanes)
        malformed("its lane");
    return greeting;
}

std::optional<std::string> disagreement(const Greeting& ours, const Greeting& theirs) {
    if (ours.protocol_version != theirs.protocol_version) {
        return "the protocol version differs: ours " + std::to_string(ours.protocol_version) + ", theirs " +
               std::to_string(theirs.protocol_version) + "; update the older Shoal";
    }
    if (ours.observer() || theirs.observer()) return std::nullopt;
    if (ours.agreed_hash == theirs.agreed_hash) return std::nullopt;
    for (const auto& [name, value] : ours.agreed) {
        const std::string* other = value_of(theirs.agreed, name);
        if (!other)
            return "the run's " + shown(name) + " differs: ours " + shown(value) + ", theirs has none";
        if (*other != value)
            return "the run's " + shown(name) + " differs: ours " + shown(value) + ", theirs " +
                   shown(*other);
    }
    for (const auto& [name, value] : theirs.agreed)
        if (!value_of(ours.agreed, name))
            return "the run's " + shown(name) + " differs: ours has none, theirs " + shown(value);
    return "the hash of the run's settings differs, though each field is equal";
}

awaitable<Agreement> greet_as_dialler(BytePipe& pipe, Greeting ours) {
    Bytes hello;
    append_frame(hello, FrameType::hello, 0, serialise(ours));
    co_await send(pipe, std::move(hello));

    FrameReader reader(pipe);
    FrameHeader header = co_await reader.next();
    Greeting theirs = expect_greeting(header, reader.body());
    if (const auto reason = disagreement(ours, theirs)) throw Error(ErrorKind::refused, *reason);
    header = co_await reader.next();
    if (header.type == FrameType::refuse)
        throw Error(ErrorKind::refused, "refuses us: " + printable(reader.body()));
    if (header.type != FrameType::welcome) malformed("no welcome followed");
    co_return Agreement(std::move(theirs), reader.take_rest());
}

awaitable<std::uint64_t> ask_instance(BytePipe& pipe, Greeting ours) {
    Bytes hello;
    append_frame(hello, FrameType::hello, 0, serialise(ours));
    co_await send(pipe, std::move(hello));
    FrameReader reader(pipe);
    const FrameHeader header = co_await reader.next();
    const Greeting theirs = expect_greeting(header, reader.body());
    co_return theirs.instance;
}

awaitable<Agreement> greet_as_acceptor(BytePipe& pipe, const Greeting& ours, Admission admission) {
    FrameReader reader(pipe);
    const FrameHeader header = co_await reader.next();
    Greeting theirs = expect_greeting(header, reader.body());
    Bytes answer;
    append_frame(answer, FrameType::hello, 0, serialise(ours));
    // Told from the dialler's side, whose user reads it.
    std::optional<std::string> reason = disagreement(theirs, ours);
    if (!reason) reason = admission(theirs);
    if (!reason) append_frame(answer, FrameType::welcome, 0);
    co_await send(pipe, std::move(answer));
    if (reason) {
        co_await send_refusal(pipe, *reason);
        const auto own_words = disagreement(ours, theirs);
        throw Error(ErrorKind::refused, "refused: " + own_words.value_or(*reason));
    }
    co_return Agreement(std::move(theirs), reader.take_rest());
}

}  // namespace shoal::net
