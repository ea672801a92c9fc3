#include "shoal/run/probes.h"

#include <algorithm>
#include <asio/ip/udp.hpp>
#include <cmath>
#include <shoal/proto/probe.pb.h>

#include "shoal/base/async.h"
#include "shoal/net/rpc.h"
#include "shoal/run/version.h"

namespace shoal::run {
namespace {

using namespace std::chrono_literals;

constexpr const char* kAbout = "shoal/about";
constexpr const char* kDialBack = "shoal/dial_back";
constexpr const char* kBandwidth = "shoal/bandwidth";
constexpr std::uint64_t kMaximumBytes = 16 * 1024 * 1024;
constexpr std::size_t kPieceBytes = 256 * 1024;
constexpr std::size_t kTokenBytes = 16;

std::string seen_address(net::Network& network, const PeerId& peer) {
    for (const net::ConnectionInfo& one : network.connections())
        if (one.peer == peer) return one.remote_address;
    return {};
}

/// A text of another peer, cut and freed of control characters, for messages to the user.
std::string harmless(const std::string& text, std::size_t maximum) {
    std::string result = text.substr(0, maximum);
    for (char& c : result)
        if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
    return result;
}

net::Message pack(const google::protobuf::MessageLite& proto) {
    net::Message message;
    message.control.resize(proto.ByteSizeLong());
    proto.SerializeToArray(message.control.data(), static_cast<int>(message.control.size()));
    return message;
}

/// Marks something as busy while it lives.
class Turn {
  public:
    explicit Turn(bool& busy) : busy_(busy) {
        if (busy) throw Error(ErrorKind::refused, "is busy with the same for another peer; try again");
        busy_ = true;
    }
    ~Turn() { busy_ = false; }
    Turn(const Turn&) = delete;
    Turn& operator=(const Turn&) = delete;

  private:
    bool& busy_;
};

/// Handlers hold it weakly: they may outlive the token.
class ProbeServer : public std::enable_shared_from_this<ProbeServer> {
  public:
    ProbeServer(net::Network& network, Clock& clock, ProbeSettings settings, Log log)
        : network_(network), clock_(clock), settings_(std::move(settings)), log_(std::move(log)) {}

    /// Called when the token goes; a handler that still runs may keep this object longer than the network
    /// lives.
    void stop() {
        network_.serve(kAbout, {});
        network_.serve(kDialBack, {});
        network_.serve(kBandwidth, {});
    }

    void start() {
        constexpr auto everybody = net::Audience::everybody;  // doctor has not joined yet
        auto weak = weak_from_this();
        net::serve_calls(
            network_, clock_, kAbout, [weak](PeerId caller, net::Message) { return about(weak, caller); },
            everybody);
        auto dialling = [weak](PeerId caller, net::Message request) {
            return dial_back(weak, caller, std::move(request));
        };
        net::serve_calls(network_, clock_, kDialBack, std::move(dialling), everybody);
        auto probing = [weak](net::StreamPointer stream) { return bandwidth(weak, std::move(stream)); };
        network_.serve(kBandwidth, std::move(probing), everybody);
    }

  private:
    static std::shared_ptr<ProbeServer> lock(const std::weak_ptr<ProbeServer>& weak) {
        auto self = weak.lock();
        if (!self) throw Error(ErrorKind::refused, "answers no probes any more");
        return self;
    }

    static awaitable<net::Message> about(std::weak_ptr<ProbeServer> weak, PeerId caller) {
        const auto self = lock(weak);
        proto::About answer;
        answer.set_version(kVersion);
        answer.set_run(self->settings_.run);
        answer.set_name(self->settings_.name);
        answer.set_wall_time_milliseconds(self->clock_.wall_now().time_since_epoch().count());
        answer.set_seen_address(seen_address(self->network_, caller));
        co_return pack(answer);
    }

    static awaitable<net::Message> dial_back(std::weak_ptr<ProbeServer> weak, PeerId caller,
                                             net::Message message) {
        const auto self = lock(weak);
        const auto request = net::parse_control<proto::DialBackRequest>(message, caller);
        if (request.tcp_port() > 65535 || request.udp_port() > 65535)
            throw Error(ErrorKind::protocol_violation, "asks for a port that does not exist",
                        caller.short_name());
        const Turn turn(self->dialling_);
        net::Endpoint endpoint = net::Endpoint::parse(seen_address(self->network_, caller));
        proto::DialBackReply reply;
        reply.set_host(endpoint.host);
        if (request.udp_port() > 0 && request.udp_token().size() == kTokenBytes)
            self->send_token(endpoint.host, static_cast<std::uint16_t>(request.udp_port()),
                             request.udp_token());
        if (request.tcp_port() > 0) {
            endpoint.port = static_cast<std::uint16_t>(request.tcp_port());
            try {
                awaitable<PeerId> dialling = self->network_.dial(endpoint);
                const PeerId found = co_await with_deadline(self->clock_, self->clock_.now() + 5s,
                                                            std::move(dialling), "dialling back");
                reply.set_tcp_reached(found == caller);
                if (found != caller) reply.set_tcp_cause("another peer answers there: " + found.short_name());
            } catch (const Error& error) {
                if (error.kind() == ErrorKind::cancelled) throw;
                reply.set_tcp_cause(std::string(error.what()).substr(0, 300));
            }
        }
        co_return pack(reply);
    }

    /// One small datagram to the asker's own host; nobody waits for it.
    void send_token(const std::string& host, std::uint16_t port, const std::string& token) {
        std::error_code error;
        const auto address = asio::ip::make_address(host, error);
        if (error) return;
        const asio::ip::udp::endpoint endpoint(address, port);
        asio::ip::udp::socket socket(network_.executor());
        socket.open(endpoint.protocol(), error);
        if (!error) socket.send_to(asio::buffer(token), endpoint, 0, error);
        if (error) log_.debug("no datagram to " + host + ": " + error.message());
    }

    static awaitable<void> bandwidth(std::weak_ptr<ProbeServer> weak, net::StreamPointer stream) {
        const auto self = lock(weak);
        const Turn turn(self->measuring_);
        awaitable<void> serving = serve_bandwidth(*self, stream);
        co_await with_deadline(self->clock_, self->clock_.now() + 30s, std::move(serving),
                               "measuring bandwidth");
    }

    static awaitable<void> serve_bandwidth(ProbeServer& self, net::StreamPointer stream) {
        std::optional<net::Message> message = co_await stream->read();
        if (!message) co_return;
        const auto request = net::parse_control<proto::BandwidthRequest>(*message, stream->peer());
        if (request.bytes_down() > kMaximumBytes)
            throw Error(ErrorKind::refused, "sends at most 16 MiB to measure bandwidth");
        proto::BandwidthReply reply;
        std::uint64_t received = message->payload.size();
        for (;;) {
            message = co_await stream->read();
            if (!message) break;
            received += message->payload.size();
            if (received > kMaximumBytes)
                throw Error(ErrorKind::refused, "takes at most 16 MiB to measure bandwidth");
        }
        reply.set_bytes_up(received);
        const net::Message answer = pack(reply);
        co_await stream->write(answer.control, ByteView());
        const Bytes noise = self.noise();
        for (std::uint64_t left = request.bytes_down(); left > 0;) {
            const std::size_t size = static_cast<std::size_t>(std::min<std::uint64_t>(left, noise.size()));
            co_await stream->write(ByteView(), ByteView(noise).first(size));
            left -= size;
        }
        stream->finish();
    }

    Bytes noise() const { return Bytes(kPieceBytes, 0x5a); }

    net::Network& network_;
    Clock& clock_;
    ProbeSettings settings_;
    Log log_;
    bool dialling_ = false, measuring_ = false;
};

/// Sends until the patience or 16 MiB are used up, waits for the reply; then fetches as much.
awaitable<Bandwidth> measure(net::Network& network, Clock& clock, PeerId peer, Duration patience) {
    net::StreamPointer stream = co_await network.open(peer, kBandwidth);
    const Bytes piece(kPieceBytes, 0x5a);
    proto::BandwidthRequest request;
    request.set_bytes_down(kMaximumBytes);
    const net::Message first = pack(request);
    const TimePoint start = clock.now();
    co_await stream->write(first.control, ByteView());
    std::uint64_t sent = 0;
    while (sent + piece.size() <= kMaximumBytes && (sent == 0 || clock.now() - start < patience)) {
        co_await stream->write(ByteView(), piece);
        sent += piece.size();
    }
    stream->finish();
    const std::optional<net::Message> reply = co_await stream->read();
    if (!reply || net::parse_control<proto::BandwidthReply>(*reply, peer).bytes_up() != sent)
        throw Error(ErrorKind::protocol_violation, "did not receive what was sent to measure bandwidth",
                    peer.short_name());
    const TimePoint turned = clock.now();
    Bandwidth result;
    result.up = static_cast<double>(sent) / std::max(seconds(turned - start), 1e-6);
    std::uint64_t received = 0;
    TimePoint now = turned;
    while (now - turned < patience || received == 0) {
        const std::optional<net::Message> message = co_await stream->read();
        if (!message) break;
        received += message->payload.size();
        now = clock.now();
    }
    result.down = static_cast<double>(received) / std::max(seconds(now - turned), 1e-6);
    stream->reset("measured enough");
    co_return result;
}

}  // namespace

std::shared_ptr<void> serve_probes(net::Network& network, Clock& clock, ProbeSettings settings, Log log) {
    auto server = std::make_shared<ProbeServer>(network, clock, std::move(settings), std::move(log));
    server->start();
    return std::shared_ptr<void>(server.get(), [server](void*) { server->stop(); });
}

awaitable<PeerAbout> ask_about(net::Network& network, Clock& clock, PeerId peer, TimePoint deadline) {
    const TimePoint asked = clock.now();
    net::Message request;
    const net::Message answer =
        co_await net::call(network, clock, peer, kAbout, std::move(request), deadline);
    const double round_trip = seconds(clock.now() - asked);
    const auto about = net::parse_control<proto::About>(answer, peer);
    PeerAbout result;
    result.version = harmless(about.version(), 32);
    result.run = harmless(about.run(), 40);
    result.name = harmless(about.name(), 24);
    result.seen_address = harmless(about.seen_address(), 80);
    const double ours =
        static_cast<double>(clock.wall_now().time_since_epoch().count()) / 1000 - round_trip / 2;
    result.clock_difference = static_cast<double>(about.wall_time_milliseconds()) / 1000 - ours;
    result.clock_uncertainty = round_trip / 2;
    co_return result;
}

awaitable<DialBackResult> ask_to_dial_back(net::Network& network, Clock& clock, PeerId peer,
                                           std::uint16_t tcp_port, std::uint16_t udp_port, Bytes udp_token,
                                           TimePoint deadline) {
    proto::DialBackRequest request;
    request.set_tcp_port(tcp_port);
    request.set_udp_port(udp_port);
    request.set_udp_token(udp_token.data(), udp_token.size());
    net::Message message = pack(request);
    const net::Message answer =
        co_await net::call(network, clock, peer, kDialBack, std::move(message), deadline);
    const auto reply = net::parse_control<proto::DialBackReply>(answer, peer);
    DialBackResult result;
    result.host = harmless(reply.host(), 80);
    result.tcp_reached = reply.tcp_reached();
    result.tcp_cause = harmless(reply.tcp_cause(), 300);
    co_return result;
}

awaitable<Bandwidth> measure_bandwidth(net::Network& network, Clock& clock, PeerId peer, Duration patience,
                                       TimePoint deadline) {
    awaitable<Bandwidth> measuring = measure(network, clock, peer, patience);
    co_return co_await with_deadline(clock, deadline, std::move(measuring),
                                     "measuring the bandwidth to peer " + peer.short_name());
}

}  // namespace shoal::run
