#include "shoal/sim/simulated_network.h"

#include <gtest/gtest.h>

#include "shoal/net/rpc.h"
#include "shoal/sim/world.h"

namespace shoal::sim {
namespace {

using namespace std::chrono_literals;

awaitable<void> send_messages(net::Network& network, PeerId to, int count, std::size_t bytes) {
    const net::StreamPointer stream = co_await network.open(to, "count");
    const Bytes payload(bytes, 7);
    for (int i = 0; i < count; ++i) co_await stream->write(ByteView(), payload);
    stream->finish();
    for (bool more = true; more;) {
        const auto message = co_await stream->read();
        more = message.has_value();
    }
}

struct Counts {
    int messages = 0;
    int ended = 0;
    std::size_t bytes = 0;
    std::string failure;
    ErrorKind kind{};
};

awaitable<void> count_messages(std::shared_ptr<Counts> counts, net::StreamPointer stream) {
    try {
        for (;;) {
            const auto message = co_await stream->read();
            if (!message) break;
            ++counts->messages;
            counts->bytes += message->payload.size();
        }
        ++counts->ended;
        stream->finish();
    } catch (const Error& error) {
        counts->failure = error.what();
        counts->kind = error.kind();
    }
}

/// Serves "count" at a peer.
std::shared_ptr<Counts> count_at(const Peer& peer) {
    auto counts = std::make_shared<Counts>();
    peer.network->serve("count",
                        [counts](net::StreamPointer stream) { return count_messages(counts, stream); });
    return counts;
}

struct TwoPeers {
    explicit TwoPeers(HostSettings a = {}, HostSettings b = {})
        : alice(world.add_peer(a)), bob(world.add_peer(b)), counter(count_at(bob)) {}
    Simulation& simulation() { return world.simulation(); }
    double now() { return seconds(simulation().clock().now().since_start); }
    std::string send(int count, std::size_t bytes) {
        try {
            simulation().run(send_messages(*alice.network, bob.id, count, bytes));
            return {};
        } catch (const Error& error) {
            return error.what();
        }
    }
    World world{1};
    Peer alice, bob;
    std::shared_ptr<Counts> counter;
};

TEST(SimulatedNetwork, CarriesMessagesInOrderToTheEnd) {
    TwoPeers peers;
    EXPECT_EQ(peers.send(100, 1000), "");
    EXPECT_EQ(peers.counter->messages, 100);
    EXPECT_EQ(peers.counter->ended, 1);
}

TEST(SimulatedNetwork, TakesLatencyForSetUpAndMessages) {
    HostSettings far;
    far.latency = 25ms;  // 50 ms from one to the other
    TwoPeers peers(far, far);
    EXPECT_EQ(peers.send(1, 1), "");
    // Two round trips to connect, then the messages there and the end of the stream back.
    EXPECT_NEAR(peers.now(), 0.200 + 0.100, 1e-6);
}

TEST(SimulatedNetwork, OccupiesTheSlowerOfUplinkAndDownlink) {
    HostSettings slow_up;
    slow_up.upload_rate = 1e6;
    TwoPeers up(slow_up, {});
    EXPECT_EQ(up.send(10, 1000000), "");
    EXPECT_NEAR(up.now(), 10.0, 0.01);

    HostSettings slow_down;
    slow_down.download_rate = 2e6;
    HostSettings fast_up;
    fast_up.upload_rate = 1e9;
    TwoPeers down(fast_up, slow_down);
    EXPECT_EQ(down.send(10, 1000000), "");
    EXPECT_NEAR(down.now(), 5.0, 0.01);
}

TEST(SimulatedNetwork, SharesAnUplinkFairlyAmongStreams) {
    World world(1);
    HostSettings slow;
    slow.upload_rate = 1e6;
    Peer sender = world.add_peer(slow);
    Peer near = world.add_peer(), far = world.add_peer();
    const auto first = count_at(near), second = count_at(far);
    world.simulation().spawn(send_messages(*sender.network, near.id, 10, 500000));
    world.simulation().spawn(send_messages(*sender.network, far.id, 10, 500000));
    world.simulation().run_for(5100ms);
    EXPECT_EQ(first->messages, 5);
    EXPECT_EQ(second->messages, 5);
    world.simulation().run();
}

awaitable<void> write_until_full(net::Network& network, PeerId to, int& written) {
    const net::StreamPointer stream = co_await network.open(to, "unread");
    const Bytes payload(1000000, 7);
    for (;;) {
        co_await stream->write(ByteView(), payload);
        ++written;
    }
}

awaitable<void> read_late(Clock& clock, net::StreamPointer stream) {
    co_await clock.sleep_for(10s);
    co_await stream->read();
    co_await clock.sleep_for(10s);
}

TEST(SimulatedNetwork, HoldsAWriterBackWhenTheReaderDoesNotRead) {
    TwoPeers peers;
    peers.bob.network->serve("unread",
                             [&](net::StreamPointer stream) { return read_late(*peers.bob.clock, stream); });
    int written = 0;
    peers.simulation().spawn(write_until_full(*peers.alice.network, peers.bob.id, written));
    peers.simulation().run_for(9s);
    EXPECT_EQ(written, 4);  // the window is 4 MiB
    peers.simulation().run_for(2s);
    EXPECT_EQ(written, 5);
    // The handler ends and drops the stream: the writer is told.
    EXPECT_THROW(peers.simulation().run(), Error);
}

awaitable<std::string> failure_of_open(net::Network& network, PeerId to, std::string service) {
    try {
        const net::StreamPointer stream = co_await network.open(to, service);
        co_await stream->read();
    } catch (const Error& error) {
        co_return std::string(to_string(error.kind())) + ": " + error.what();
    }
    co_return "none";
}

TEST(SimulatedNetwork, RefusesAnUnknownServiceAtTheFirstRead) {
    TwoPeers peers;
    const auto failure =
        peers.simulation().run(failure_of_open(*peers.alice.network, peers.bob.id, "no such thing"));
    EXPECT_EQ(failure, "refused: peer " + peers.bob.id.short_name() + ": unknown service no such thing");
}

awaitable<void> throw_at_once(net::StreamPointer stream) {
    co_await stream->read();
    throw Error(ErrorKind::bad_input, "the cat sat on the keyboard");
}

TEST(SimulatedNetwork, TellsTheOtherSideWhyAHandlerFailed) {
    TwoPeers peers;
    peers.bob.network->serve("count", throw_at_once);
    EXPECT_NE(peers.send(1, 10).find("the cat sat on the keyboard"), std::string::npos);
}

TEST(SimulatedNetwork, CannotDialAClientButCallsItOverTheConnectionItOpened) {
    HostSettings client;
    client.accept_connections = false;
    TwoPeers peers({}, client);
    EXPECT_NE(peers.send(1, 1).find("no address is known"), std::string::npos);
    const auto dialled =
        peers.simulation().run(peers.bob.network->dial(peers.world.internet().endpoint(peers.alice.id)));
    EXPECT_EQ(dialled, peers.alice.id);
    EXPECT_EQ(peers.send(3, 1), "");
    EXPECT_EQ(peers.counter->messages, 3);
}

TEST(SimulatedNetwork, UsesOneConnectionWhenBothDialAtOnce) {
    TwoPeers peers;
    const auto at_alice = count_at(peers.alice);
    peers.simulation().spawn(send_messages(*peers.alice.network, peers.bob.id, 1, 1));
    peers.simulation().spawn(send_messages(*peers.bob.network, peers.alice.id, 1, 1));
    peers.simulation().run();
    EXPECT_EQ(peers.counter->messages, 1);
    EXPECT_EQ(at_alice->messages, 1);
    EXPECT_EQ(peers.alice.network->connections().size(), 1u);
    EXPECT_EQ(peers.bob.network->connections().size(), 1u);
}

TEST(SimulatedNetwork, BreaksConnectionsAtOnceWhenAPeerCrashes) {
    TwoPeers peers;
    ASSERT_EQ(peers.send(1, 1), "");
    const double before = peers.now();
    peers.world.internet().after_messages(peers.alice.id, 3,
                                          [&] { peers.world.internet().crash(peers.alice.id); });
    peers.simulation().spawn(send_messages(*peers.alice.network, peers.bob.id, 10, 1000));
    ASSERT_TRUE(peers.simulation().run_until([&] { return !peers.counter->failure.empty(); }));
    EXPECT_LT(peers.now() - before, 0.1);
    EXPECT_EQ(peers.counter->messages, 1 + 3);
    EXPECT_EQ(peers.counter->kind, ErrorKind::connection_lost);
    EXPECT_FALSE(peers.bob.network->is_connected(peers.alice.id));
    const auto failure = peers.simulation().run(failure_of_open(*peers.bob.network, peers.alice.id, "count"));
    EXPECT_NE(failure.find("connection refused"), std::string::npos) << failure;
}

TEST(SimulatedNetwork, CutsAtTheExactByte) {
    TwoPeers peers;
    ASSERT_EQ(peers.send(1, 1), "");
    const auto before = peers.world.internet().traffic(peers.alice.id).bytes_sent;
    peers.world.internet().after_bytes(peers.alice.id, 12345,
                                       [&] { peers.world.internet().cut(peers.alice.id, peers.bob.id); });
    EXPECT_NE(peers.send(10, 10000).find("connection reset"), std::string::npos);
    EXPECT_EQ(peers.world.internet().traffic(peers.alice.id).bytes_sent - before, 12345u);
    EXPECT_EQ(peers.send(1, 1), "") << "they may connect again";
}

TEST(SimulatedNetwork, NoticesAFrozenPeerAfterTheTimeOut) {
    TwoPeers peers;
    ASSERT_EQ(peers.send(1, 1), "");
    const double before = peers.now();
    std::string cause;
    const auto observer = peers.bob.network->observe(
        [&](const PeerId&, bool connected, const std::string& why) { cause = connected ? "" : why; });
    peers.world.internet().freeze(peers.alice.id);
    ASSERT_TRUE(peers.simulation().run_until([&] { return !cause.empty(); }));
    EXPECT_NEAR(peers.now() - before, 2.0, 1e-3);
    EXPECT_EQ(cause, "nothing was heard of it for 2 s");
    const auto failure = peers.simulation().run(failure_of_open(*peers.bob.network, peers.alice.id, "count"));
    EXPECT_NE(failure.find("no answer within 10 s"), std::string::npos) << failure;
    peers.world.internet().thaw(peers.alice.id);
    peers.simulation().run();
    EXPECT_FALSE(peers.alice.network->is_connected(peers.bob.id));
    EXPECT_EQ(peers.send(1, 1), "");
}

TEST(SimulatedNetwork, OneEndOfAConnectionThatBrokeForTheOtherBelievesInItUntilTheTimeOutOrANewOne) {
    TwoPeers peers;
    for (const bool dials_again : {false, true}) {
        ASSERT_EQ(peers.send(1, 1), "");
        const double before = peers.now();
        peers.world.internet().half_close(peers.alice.id, peers.bob.id);
        EXPECT_FALSE(peers.alice.network->is_connected(peers.bob.id));
        EXPECT_TRUE(peers.bob.network->is_connected(peers.alice.id));
        if (dials_again) {
            EXPECT_EQ(peers.send(1, 1), "");
            peers.simulation().run_for(5s);
            EXPECT_TRUE(peers.bob.network->is_connected(peers.alice.id));
        } else {
            const auto lost = [&] { return !peers.bob.network->is_connected(peers.alice.id); };
            ASSERT_TRUE(peers.simulation().run_until(lost));
            EXPECT_NEAR(peers.now() - before, 2.0, 1e-3);
        }
    }
}

TEST(SimulatedNetwork, SurvivesAShortFreezeWithoutLosingAnything) {
    HostSettings slow;
    slow.upload_rate = 1e6;
    TwoPeers peers(slow, {});
    peers.simulation().spawn(send_messages(*peers.alice.network, peers.bob.id, 40, 100000));
    peers.simulation().run_for(1s);
    peers.world.internet().freeze(peers.bob.id);
    const int before = peers.counter->messages;
    peers.simulation().run_for(1500ms);
    EXPECT_EQ(peers.counter->messages, before);
    peers.world.internet().thaw(peers.bob.id);
    peers.simulation().run();
    EXPECT_EQ(peers.counter->messages, 40);
}

TEST(SimulatedNetwork, SplitsAndHeals) {
    TwoPeers peers;
    ASSERT_EQ(peers.send(1, 1), "");
    peers.world.internet().partition({{peers.alice.id}, {peers.bob.id}});
    peers.simulation().run_for(1s);
    EXPECT_TRUE(peers.alice.network->is_connected(peers.bob.id));
    peers.simulation().run_for(1001ms);
    EXPECT_FALSE(peers.alice.network->is_connected(peers.bob.id));
    EXPECT_FALSE(peers.bob.network->is_connected(peers.alice.id));
    EXPECT_NE(peers.send(1, 1).find("no answer within"), std::string::npos);
    peers.world.internet().heal();
    EXPECT_EQ(peers.send(1, 1), "");
}

awaitable<net::Message> echo(PeerId, net::Message request) {
    co_return request;
}

awaitable<std::size_t> ask(net::Network& network, Clock& clock, PeerId peer) {
    net::Message request(Bytes(10, 1), Bytes(20, 2));
    const net::Message answer =
        co_await net::call(network, clock, peer, "echo", std::move(request), clock.now() + 5s);
    co_return answer.control.size() + answer.payload.size();
}

TEST(SimulatedNetwork, CarriesCalls) {
    TwoPeers peers;
    net::serve_calls(*peers.bob.network, *peers.bob.clock, "echo", echo);
    EXPECT_EQ(peers.simulation().run(ask(*peers.alice.network, *peers.alice.clock, peers.bob.id)), 30u);
}

TEST(SimulatedNetwork, LeavesWhenItsUserDropsIt) {
    TwoPeers peers;
    ASSERT_EQ(peers.send(1, 1), "");
    peers.bob.network.reset();
    peers.simulation().run();
    EXPECT_FALSE(peers.alice.network->is_connected(peers.bob.id));
    EXPECT_NE(peers.send(1, 1).find("connection refused"), std::string::npos);
    peers.bob = peers.world.restart(peers.bob.key);
    const auto again = count_at(peers.bob);
    EXPECT_EQ(peers.send(2, 1), "");
    EXPECT_EQ(again->messages, 2);
}

/// A crowd in which everybody talks to everybody while faults happen; returns the trace.
std::pair<std::uint64_t, std::uint64_t> history_of(std::uint64_t seed) {
    InternetSettings internet;
    internet.maximum_jitter = 3ms;
    World world(seed, internet);
    std::vector<Peer> peers;
    for (int i = 0; i < 8; ++i) {
        HostSettings host;
        host.upload_rate = 1e5 + static_cast<double>(world.simulation().random().below(900000));
        peers.push_back(world.add_peer(host));
        count_at(peers.back());
    }
    const auto send = [](net::Network& network, PeerId to) -> awaitable<void> {
        try {
            co_await send_messages(network, to, 20, 5000);
        } catch (const Error&) {
        }
    };
    for (const Peer& from : peers)
        for (const Peer& to : peers)
            if (from.id != to.id) world.simulation().spawn(send(*from.network, to.id));
    world.simulation().run_for(200ms);
    world.internet().crash(peers[0].id);
    world.internet().freeze(peers[1].id);
    world.simulation().run_for(1s);
    world.internet().partition({{peers[2].id, peers[3].id}});
    world.simulation().run_for(5s);
    world.internet().heal();
    world.internet().thaw(peers[1].id);
    world.simulation().run();
    return {world.simulation().trace().hash(), world.simulation().trace().count()};
}

TEST(SimulatedNetwork, RepeatsItselfFromTheSeed) {
    const auto first = history_of(1);
    EXPECT_GT(first.second, 500u);
    EXPECT_EQ(first, history_of(1));
    EXPECT_NE(first.first, history_of(2).first);
}

}  // namespace
}  // namespace shoal::sim
