// What peers tell whoever asks, and what they refuse.
#include "shoal/run/probes.h"

#include "collective/mutating_network.h"

#include <algorithm>
#include <cmath>
#include <gtest/gtest.h>
#include <shoal/proto/probe.pb.h>

#include "shoal/base/error.h"
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

/// Sends nearly right messages to every service of the probes, and takes what comes.
awaitable<void> babble(net::Network& network, PeerId peer, std::uint64_t seed) {
    Random random(seed);
    proto::DialBackRequest dial;
    dial.set_tcp_port(1);
    dial.set_udp_port(1);
    dial.set_udp_token(std::string(16, 't'));
    proto::BandwidthRequest bandwidth;
    bandwidth.set_bytes_down(100000);
    const std::vector<std::pair<std::string, Bytes>> models = {
        {"shoal/about", Bytes()},
        {"shoal/dial_back", net::to_control(dial)},
        {"shoal/bandwidth", net::to_control(bandwidth)}};
    for (int k = 0; k < 200; ++k) {
        try {
            const auto& [service, model] = models[random.below(models.size())];
            std::string name = service;
            const net::StreamPointer stream = co_await network.open(peer, std::move(name));
            for (std::uint64_t messages = 1 + random.below(2); messages > 0; --messages) {
                const Bytes control = collective::mutated(random, model);
                const Bytes payload(random.below(300), 1);
                co_await stream->write(control, payload);
            }
            if (random.below(2) == 0) {
                stream->finish();
                co_await stream->read();
            }
        } catch (const Error& error) {
            if (error.kind() == ErrorKind::cancelled) throw;
        }
    }
}

TEST_F(Probes, AnswerTheOthersWhateverAStrangerSends) {
    const sim::Peer stranger = world_.add_peer();
    for (std::uint64_t seed = 1; seed <= 20; ++seed)
        world_.simulation().run(babble(*stranger.network, other_.id, seed), std::chrono::hours(1));
    EXPECT_EQ(run(ask_about(*us_.network, *us_.clock, other_.id, deadline())).name, "alice");
    run(measure_bandwidth(*us_.network, *us_.clock, other_.id, 1s, us_.clock->now() + 60s));
}

/// A peer whose answers to probes arrive changed.
class LyingPeer : public Probes {
  protected:
    LyingPeer() : liar_(world_.add_peer()) {
        collective::Attack attack;
        attack.name = "answers";
        attack.rarity = 1;
        liar_.network = collective::attacking(attack, damage_)(liar_.network);
        lies_ = serve_probes(*liar_.network, *liar_.clock, ProbeSettings(), Log());
    }
    /// What it says is understood, or an error.
    template <typename T>
    std::optional<T> ask(awaitable<T> question) {
        try {
            return run(std::move(question));
        } catch (const Error&) {
            ++refused_;
            return std::nullopt;
        }
    }
    /// Without control characters; names may be UTF-8.
    static bool is_harmless(const std::string& text) {
        return std::none_of(text.begin(), text.end(), [](unsigned char c) { return c < 0x20 || c == 0x7f; });
    }

    std::shared_ptr<collective::Damage> damage_ = std::make_shared<collective::Damage>();
    sim::Peer liar_;
    std::shared_ptr<void> lies_;
    int refused_ = 0;
};

TEST_F(LyingPeer, IsRefusedOrSaysSomethingHarmless) {
    for (int k = 0; k < 300; ++k) {
        if (const auto about = ask(ask_about(*us_.network, *us_.clock, liar_.id, deadline()))) {
            for (const std::string& text : {about->version, about->run, about->name, about->seen_address})
                EXPECT_TRUE(text.size() <= 80 && is_harmless(text)) << text;
            EXPECT_TRUE(std::isfinite(about->clock_difference));
        }
        const auto back =
            ask(ask_to_dial_back(*us_.network, *us_.clock, liar_.id, 1, 0, Bytes(), deadline()));
        if (back) {
            EXPECT_TRUE(is_harmless(back->host) && is_harmless(back->tcp_cause));
        }
    }
    for (int k = 0; k < 20; ++k) {
        const auto speed = ask(measure_bandwidth(*us_.network, *us_.clock, liar_.id, 1ms, deadline()));
        if (speed) {
            EXPECT_TRUE(std::isfinite(speed->up) && std::isfinite(speed->down));
        }
    }
    EXPECT_GT(refused_, 10);
    EXPECT_GT(damage_->messages, 300);
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
