#include "shoal/sim/simulated_directory.h"

#include <gtest/gtest.h>

#include "shoal/sim/world.h"

namespace shoal::sim {
namespace {

using namespace std::chrono_literals;

struct ThreePeers {
    explicit ThreePeers(DirectorySettings settings = {})
        : world(1, {}, settings), a(world.add_peer()), b(world.add_peer()), c(world.add_peer()) {}
    void publish(const Peer& peer, const std::string& value, Duration time_to_live = 60s) {
        world.simulation().run(peer.directory->publish("run/key", "", to_bytes(value), time_to_live));
    }
    std::vector<std::string> read(const Peer& peer) {
        std::vector<std::string> values;
        for (const dht::Record& record : world.simulation().run(peer.directory->read("run/key")))
            values.emplace_back(as_text(record.value));
        return values;
    }
    World world;
    Peer a, b, c;
};

using Values = std::vector<std::string>;

TEST(SimulatedDirectory, ShowsToAllWhatOneHasPublished) {
    ThreePeers peers;
    peers.publish(peers.a, "one");
    EXPECT_EQ(peers.read(peers.b), Values{"one"});
    peers.publish(peers.a, "two");
    EXPECT_EQ(peers.read(peers.c), Values{"two"});
}

TEST(SimulatedDirectory, ForgetsWhatHasExpired) {
    ThreePeers peers;
    peers.publish(peers.a, "short", 1s);
    EXPECT_EQ(peers.read(peers.b).size(), 1u);
    peers.world.simulation().run_for(1s);
    EXPECT_TRUE(peers.read(peers.b).empty());
}

TEST(SimulatedDirectory, PushesWhatExistsAndWhatComes) {
    ThreePeers peers;
    peers.publish(peers.a, "before");
    Values seen;
    auto token = peers.b.directory->watch(
        "run/key", [&](const dht::Record& record) { seen.emplace_back(as_text(record.value)); });
    peers.world.simulation().run();
    peers.publish(peers.c, "after");
    peers.world.simulation().run();
    EXPECT_EQ(seen, (Values{"before", "after"}));
    token.reset();
    peers.publish(peers.c, "unheard");
    peers.world.simulation().run();
    EXPECT_EQ(seen.size(), 2u);
}

TEST(SimulatedDirectory, KeepsTheHalvesOfAPartitionApartUntilItHeals) {
    ThreePeers peers;
    peers.publish(peers.a, "old");
    peers.world.internet().partition({{peers.a.id}, {peers.b.id, peers.c.id}});
    Values seen;
    const auto token = peers.b.directory->watch(
        "run/key", [&](const dht::Record& record) { seen.emplace_back(as_text(record.value)); });
    peers.publish(peers.a, "new");
    peers.world.simulation().run();
    EXPECT_EQ(peers.read(peers.b), Values{"old"});
    peers.world.internet().heal();
    peers.world.simulation().run();
    EXPECT_EQ(peers.read(peers.b), Values{"new"});
    ASSERT_FALSE(seen.empty());
    EXPECT_EQ(seen.back(), "new");
}

TEST(SimulatedDirectory, DeliversALostPushLater) {
    DirectorySettings settings;
    settings.push_loss = 1;
    ThreePeers peers(settings);
    Values seen;
    const auto token = peers.b.directory->watch(
        "run/key", [&](const dht::Record& record) { seen.emplace_back(as_text(record.value)); });
    peers.publish(peers.a, "late");
    peers.world.simulation().run_for(4s);
    EXPECT_TRUE(seen.empty());
    peers.world.simulation().run_for(2s);
    EXPECT_EQ(seen, Values{"late"});
}

TEST(SimulatedDirectory, RefusesWhatIsTooLongAtTheBound) {
    ThreePeers peers;
    const auto publish = [&](std::size_t key, std::size_t subkey, std::size_t value, Duration time_to_live) {
        peers.world.simulation().run(peers.a.directory->publish(
            std::string(key, 'k'), std::string(subkey, 's'), Bytes(value), time_to_live));
    };
    EXPECT_NO_THROW(publish(96, 32, 380, 600s));
    EXPECT_THROW(publish(97, 32, 380, 600s), Error);
    EXPECT_THROW(publish(96, 33, 380, 600s), Error);
    EXPECT_THROW(publish(96, 32, 381, 600s), Error);
    EXPECT_THROW(publish(96, 32, 380, 600s + 1ms), Error);
}

}  // namespace
}  // namespace shoal::sim
