// How the streams of a simulated network share the lines.
#include <algorithm>
#include <gtest/gtest.h>
#include <map>

#include "shoal/sim/world.h"

namespace shoal::sim {
namespace {

using namespace std::chrono_literals;

/// What a receiver has got of one sender.
struct Received {
    std::vector<std::uint8_t> first_bytes;  ///< of the messages, in their order
    std::size_t bytes = 0;
    TimePoint last;
    std::string failure;
};

awaitable<void> receive(Clock& clock, std::shared_ptr<std::map<PeerId, Received>> all,
                        net::StreamPointer stream) {
    Received& from = (*all)[stream->peer()];
    try {
        for (;;) {
            const std::optional<net::Message> message = co_await stream->read();
            if (!message) break;
            from.first_bytes.push_back(message->payload.front());
            from.bytes += message->payload.size();
            from.last = clock.now();
        }
        stream->finish();
    } catch (const Error& error) {
        from.failure = error.what();
    }
}

/// Numbers its messages.
awaitable<void> send(net::Network& network, PeerId to, int count, std::size_t bytes) {
    const net::StreamPointer stream = co_await network.open(to, "take");
    for (int i = 0; i < count; ++i) {
        const Bytes payload(bytes, static_cast<std::uint8_t>(i));
        co_await stream->write(ByteView(), payload);
    }
    stream->finish();
    for (bool more = true; more;) {
        const auto message = co_await stream->read();
        more = message.has_value();
    }
}

class SharedLines : public ::testing::Test {
  protected:
    struct Receiver {
        Peer peer;
        std::shared_ptr<std::map<PeerId, Received>> got = std::make_shared<std::map<PeerId, Received>>();
    };

    Receiver add_receiver(double rate, bool deep_queue = false) {
        HostSettings settings;
        settings.download_rate = rate;
        settings.deep_queue = deep_queue;
        Receiver receiver{world_.add_peer(settings)};
        Clock& clock = *receiver.peer.clock;
        receiver.peer.network->serve("take", [&clock, got = receiver.got](net::StreamPointer stream) {
            return receive(clock, got, std::move(stream));
        });
        return receiver;
    }
    Peer add_sender(double rate = 0) {
        HostSettings settings;
        settings.upload_rate = rate;
        return world_.add_peer(settings);
    }
    void begin(const Peer& from, const Receiver& to, int count, std::size_t bytes) {
        world_.simulation().spawn(send(*from.network, to.peer.id, count, bytes));
    }
    double seconds_at(TimePoint when) { return seconds(when.since_start); }

    World world_{1};
};

TEST_F(SharedLines, ADownlinkIsSharedFairlyAmongSendersWhoeverCameFirst) {
    Receiver receiver = add_receiver(1e6);
    const Peer first = add_sender(), second = add_sender();
    begin(first, receiver, 50, 100'000);
    world_.simulation().run_for(1s);
    EXPECT_NEAR(static_cast<double>((*receiver.got)[first.id].bytes), 1e6, 2e5);
    begin(second, receiver, 10, 100'000);
    world_.simulation().run_for(2200ms);
    EXPECT_EQ((*receiver.got)[second.id].bytes, 1'000'000U) << "half of the line for two seconds";
    EXPECT_NEAR(static_cast<double>((*receiver.got)[first.id].bytes), 2.2e6, 2e5);
    world_.simulation().run();
    EXPECT_NEAR(seconds_at((*receiver.got)[first.id].last), 6.0, 0.05) << "nothing of the line was lost";
}

TEST_F(SharedLines, AWordDoesNotWaitBehindWhatOthersSendUnlessTheQueueIsDeep) {
    for (const bool deep : {false, true}) {
        Receiver receiver = add_receiver(1e6, deep);
        const Peer much = add_sender(), word = add_sender();
        const TimePoint start = world_.simulation().clock().now();
        begin(much, receiver, 30, 100'000);
        world_.simulation().run_for(500ms);
        begin(word, receiver, 1, 10);
        world_.simulation().run();
        const double took = seconds((*receiver.got)[word.id].last - start) - 0.5;
        if (deep)
            EXPECT_NEAR(took, 2.5, 0.1) << "all that came before has to pass first";
        else
            EXPECT_LT(took, 0.15);
        EXPECT_NEAR(seconds((*receiver.got)[much.id].last - start), 3.0, 0.05);
    }
}

TEST_F(SharedLines, AnUplinkGivesEachReceiverAnEqualPartOrWhatItsLineCarries) {
    for (const double rate : {0.2e6, 0.6e6}) {
        const Peer sender = add_sender(1e6);
        Receiver slow = add_receiver(rate), fast = add_receiver(0);
        begin(sender, slow, 100, 100'000);
        begin(sender, fast, 100, 100'000);
        world_.simulation().run_for(10s);
        const double to_slow = std::min(rate, 0.5e6);
        EXPECT_NEAR(static_cast<double>((*slow.got)[sender.id].bytes), 10 * to_slow, 3e5);
        EXPECT_NEAR(static_cast<double>((*fast.got)[sender.id].bytes), 10 * (1e6 - to_slow), 3e5);
        world_.simulation().run();
    }
}

TEST_F(SharedLines, MessagesKeepTheirOrderThroughFreezesAndPartitions) {
    for (const bool deep : {false, true}) {
        Receiver receiver = add_receiver(1e6, deep);
        const Peer sender = add_sender();
        begin(sender, receiver, 200, 10'000);
        world_.simulation().run_for(300ms);
        for (const Duration pause : {30ms, 100ms, 300ms}) {
            world_.internet().freeze(receiver.peer.id);
            world_.simulation().run_for(pause);
            world_.internet().thaw(receiver.peer.id);
            world_.simulation().run_for(100ms);
            world_.internet().partition({{sender.id}});
            world_.simulation().run_for(pause);
            world_.internet().heal();
            world_.simulation().run_for(100ms);
        }
        world_.simulation().run();
        const Received& got = (*receiver.got)[sender.id];
        ASSERT_EQ(got.first_bytes.size(), 200U);
        EXPECT_TRUE(std::is_sorted(got.first_bytes.begin(), got.first_bytes.end()));
    }
}

TEST_F(SharedLines, TheEndOfAConnectionComesAfterAllThatWasUnderWay) {
    Receiver receiver = add_receiver(1e6, true);
    const Peer sender = add_sender();
    begin(sender, receiver, 10, 100'000);
    world_.simulation().run_for(100ms);
    world_.internet().crash(sender.id);
    world_.simulation().run();
    EXPECT_EQ((*receiver.got)[sender.id].first_bytes.size(), 10U);
    EXPECT_FALSE(receiver.peer.network->is_connected(sender.id));
}

}  // namespace
}  // namespace shoal::sim
