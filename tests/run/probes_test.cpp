// What peers tell whoever asks, and what they refuse.
#include "shoal/run/probes.h"

#include <algorithm>
#include <gtest/gtest.h>
#include <limits>
#include <shoal/proto/probe.pb.h>

#include "shoal/base/error.h"
#include "shoal/base/random.h"
#include "shoal/net/rpc.h"
#include "shoal/run/addresses.h"
#include "shoal/run/version.h"
#include "shoal/sim/world.h"

namespace shoal::run {
namespace {

using namespace std::chrono_literals;

class Probes : public testing::Test {
  protected:
    explicit Probes(sim::HostSettings theirs = {}) : us_(world_.add_peer()), other_(world_.add_peer(theirs)) {
        ProbeSettings settings;
        settings.run = "demo";
        settings.name = "alice";
        token_ = serve_probes(*other_.network, *other_.clock, settings, Log());
    }
    TimePoint deadline() { return us_.clock->now() + 20s; }
    template <typename T>
    T run(awaitable<T> task) {
        return world_.simulation().run(std::move(task), 60s);
    }

    sim::World world_{1};
    sim::Peer us_, other_;
    std::shared_ptr<void> token_;
};

TEST_F(Probes, APeerSaysWhoItIs) {
    const PeerAbout about = run(ask_about(*us_.network, *us_.clock, other_.id, deadline()));
    EXPECT_EQ(about.run, "demo");
    EXPECT_EQ(about.name, "alice");
    EXPECT_EQ(about.version, kVersion);
    EXPECT_NEAR(about.clock_difference, 0, about.clock_uncertainty + 0.002);  // in milliseconds on the wire
}

class SkewedClock : public Probes {
  protected:
    static sim::HostSettings ahead() {
        sim::HostSettings settings;
        settings.clock_skew = 40s;
        settings.latency = 50ms;
        return settings;
    }
    SkewedClock() : Probes(ahead()) {}
};

TEST_F(SkewedClock, IsMeasuredToWithinHalfARoundTrip) {
    const PeerAbout about = run(ask_about(*us_.network, *us_.clock, other_.id, deadline()));
    EXPECT_NEAR(about.clock_difference, 40, about.clock_uncertainty + 0.002);
    EXPECT_LT(about.clock_uncertainty, 0.2);
}

class SlowLine : public Probes {
  protected:
    static sim::HostSettings slow() {
        sim::HostSettings settings;
        settings.upload_rate = 1e6;
        settings.download_rate = 4e6;
        return settings;
    }
    SlowLine() : Probes(slow()) {}
};

TEST_F(SlowLine, IsMeasuredBothWays) {
    const Bandwidth found =
        run(measure_bandwidth(*us_.network, *us_.clock, other_.id, 2s, us_.clock->now() + 60s));
    EXPECT_NEAR(found.up, 4e6, 0.6e6);  // our up is its down
    EXPECT_NEAR(found.down, 1e6, 0.2e6);
}

TEST_F(Probes, NobodySendsMoreThanSixteenMebibytesForTheAsking) {
    const auto ask = [](net::Network& network, PeerId peer) -> awaitable<std::string> {
        const net::StreamPointer stream = co_await network.open(peer, "shoal/bandwidth");
        proto::BandwidthRequest request;
        request.set_bytes_down(16 * 1024 * 1024 + 1);
        const Bytes control = net::to_control(request);
        co_await stream->write(control, ByteView());
        stream->finish();
        std::string refusal;
        try {
            co_await stream->read();
        } catch (const Error& error) {
            refusal = error.what();
        }
        co_return refusal;
    };
    EXPECT_NE(run(ask(*us_.network, other_.id)).find("at most 16 MiB"), std::string::npos);
}

TEST_F(Probes, EndWithTheirToken) {
    token_.reset();
    EXPECT_THROW(run(ask_about(*us_.network, *us_.clock, other_.id, deadline())), Error);
}

TEST_F(Probes, GarbageIsRefused) {
    for (const char* method : {"shoal/dial_back"}) {
        net::Message garbage(Bytes(100, 0xff));
        EXPECT_THROW(run(net::call(*us_.network, *us_.clock, other_.id, method, garbage, deadline())), Error);
    }
    EXPECT_NO_THROW(run(ask_about(*us_.network, *us_.clock, other_.id, deadline())));
}

/// Random bytes, or good ones with a few changed, cut off or doubled.
Bytes spoilt(const Bytes& good, Random& random) {
    if (random.below(4) == 0) {
        Bytes noise(random.below(200));
        for (auto& byte : noise) byte = static_cast<std::uint8_t>(random.below(256));
        return noise;
    }
    Bytes bytes = good;
    for (std::uint64_t i = 0, changes = 1 + random.below(4); i < changes && !bytes.empty(); ++i)
        bytes[random.below(bytes.size())] = static_cast<std::uint8_t>(random.below(256));
    if (random.below(4) == 0) bytes.resize(random.below(bytes.size() + 1));
    if (random.below(8) == 0) bytes.insert(bytes.end(), good.begin(), good.end());
    return bytes;
}

bool is_harmless(const std::string& text, std::size_t maximum) {
    const auto controls = [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; };
    return text.size() <= maximum && std::none_of(text.begin(), text.end(), controls);
}

TEST_F(Probes, SpoiltAnswersAreRefusedOrGiveTextsThatHarmNoTerminal) {
    proto::About about;
    about.set_version("\x1b[2J" + std::string(100, 'v'));
    about.set_run(std::string(100, '\n'));
    about.set_name("alice");
    about.set_seen_address("1.2.3.4:5");
    about.set_wall_time_milliseconds(std::numeric_limits<std::int64_t>::min());
    proto::DialBackReply reply;
    reply.set_host("1.2.3.4");
    reply.set_tcp_cause(std::string(1000, '\x07'));
    Random random(12);
    token_.reset();
    Bytes answer;
    for (const char* method : {"shoal/about", "shoal/dial_back"})
        net::serve_calls(*other_.network, *other_.clock, method,
                         [&answer](PeerId, net::Message) -> awaitable<net::Message> {
                             struct Answer {
                                 static awaitable<net::Message> with(Bytes bytes) {
                                     net::Message message(std::move(bytes));
                                     co_return message;
                                 }
                             };
                             return Answer::with(answer);
                         });
    int understood = 0;
    for (int round = 0; round < 500; ++round) {
        try {
            answer = round == 0 ? net::to_control(about) : spoilt(net::to_control(about), random);
            const PeerAbout found = run(ask_about(*us_.network, *us_.clock, other_.id, deadline()));
            EXPECT_TRUE(is_harmless(found.version, 32) && is_harmless(found.run, 40));
            EXPECT_TRUE(is_harmless(found.name, 24) && is_harmless(found.seen_address, 80));
            answer = spoilt(net::to_control(reply), random);
            const DialBackResult result =
                run(ask_to_dial_back(*us_.network, *us_.clock, other_.id, 1, 0, Bytes(), deadline()));
            EXPECT_TRUE(is_harmless(result.host, 80) && is_harmless(result.tcp_cause, 300));
            ++understood;
        } catch (const Error& error) {
            EXPECT_EQ(error.kind(), ErrorKind::protocol_violation) << error.what();
        }
    }
    EXPECT_GT(understood, 0);
    EXPECT_LT(understood, 500);
}

/// Sends bytes as the first message of a stream, and reads what comes back until there is no more.
awaitable<std::uint64_t> send_to(net::Network& network, PeerId peer, const char* service, Bytes bytes) {
    std::uint64_t received = 0;
    try {
        const net::StreamPointer stream = co_await network.open(peer, service);
        co_await stream->write(bytes, ByteView());
        stream->finish();
        std::optional<net::Message> message = co_await stream->read();
        while (message) {
            received += message->payload.size();
            message = co_await stream->read();
        }
    } catch (const Error& error) {
        EXPECT_NE(error.kind(), ErrorKind::timed_out) << error.what();
    }
    co_return received;
}

TEST_F(Probes, SpoiltQuestionsDisturbNobody) {
    proto::DialBackRequest dial_back;
    dial_back.set_tcp_port(70'000);
    dial_back.set_udp_token("eight888");  // of a wrong length: nothing is sent
    proto::BandwidthRequest bandwidth;
    bandwidth.set_bytes_down(1000);
    Random random(13);
    for (int round = 0; round < 300; ++round) {
        Bytes first = spoilt(net::to_control(dial_back), random);
        run(send_to(*us_.network, other_.id, "shoal/dial_back", std::move(first)));
        Bytes second = spoilt(net::to_control(bandwidth), random);
        EXPECT_LE(run(send_to(*us_.network, other_.id, "shoal/bandwidth", std::move(second))),
                  16U * 1024 * 1024);
    }
    EXPECT_EQ(run(ask_about(*us_.network, *us_.clock, other_.id, deadline())).name, "alice");
}

TEST(Addresses, ComeBackAsManyAsFit) {
    std::vector<net::Endpoint> endpoints;
    for (int i = 0; i < 40; ++i)
        endpoints.push_back(net::Endpoint::parse("192.168.100." + std::to_string(i) + ":31337"));
    const Bytes value = encode_addresses(endpoints);
    EXPECT_LE(value.size(), 380U);
    const auto found = decode_addresses(value);
    ASSERT_GE(found.size(), 15U);
    for (std::size_t i = 0; i < found.size(); ++i) EXPECT_EQ(found[i], endpoints[i]);
}

TEST(Addresses, WhatIsNoAddressIsLeftOut) {
    const auto found =
        decode_addresses(as_bytes(std::string_view("nonsense\n10.0.0.1:0\n\x01:5\n10.0.0.1:5\n[::1]:6")));
    ASSERT_EQ(found.size(), 2U);
    EXPECT_EQ(found[0].to_string(), "10.0.0.1:5");
    EXPECT_EQ(found[1].to_string(), "[::1]:6");
    EXPECT_TRUE(decode_addresses({}).empty());
    EXPECT_LE(decode_addresses(as_bytes(std::string_view(std::string(1000, '\n')))).size(), 16U);
}

}  // namespace
}  // namespace shoal::run
