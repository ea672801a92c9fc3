// Nodes that die, go silent, start late or apart. Real UDP sockets on loopback.
#include "dht/directory_swarm.h"

#include <asio/detached.hpp>
#include <asio/ip/udp.hpp>
#include <gtest/gtest.h>
#include <set>

#include "shoal/dht/opendht_node.h"

namespace shoal::dht {
namespace {

TEST(OpenDhtFailure, survives_the_death_of_some_nodes) {
    Swarm swarm;
    auto first = swarm.add();
    for (int i = 0; i < 11; ++i) swarm.add({first});
    ASSERT_TRUE(swarm.wait_for_nodes(1));
    for (std::size_t i = 0; i < 12; ++i) swarm.publish(*swarm.nodes[i], std::to_string(i), 120s);
    for (const std::size_t dead : {0, 5, 7}) swarm.nodes[dead]->shut_down();
    for (const std::size_t alive : {1, 4, 11}) EXPECT_EQ(swarm.read(*swarm.nodes[alive]).size(), 12u);
    swarm.publish(*swarm.nodes[3], "after");
    const Values values = swarm.read(*swarm.nodes[8]);
    EXPECT_EQ(std::count(values.begin(), values.end(), "after"), 1);
}

/// How long OpenDHT by itself waits for an address: a ping that nothing interrupts.
struct GivesUp {
    GivesUp(Swarm& swarm, const asio::ip::udp::endpoint& where)
        : node(std::make_shared<OpenDhtNode>(swarm.context.get_executor(), swarm.clock,
                                             Swarm::make_settings(), Log())) {
        node->start();
        node->ping(where, [this](bool) { gave_up = true; });
    }
    ~GivesUp() { node->close(); }
    std::shared_ptr<OpenDhtNode> node;
    bool gave_up = false;
};

/// The questions of one node that a mute port gets, but for those whether anybody is there.
class Questions {
  public:
    Questions(asio::ip::udp::socket& mute, std::uint16_t from) : mute_(mute), from_(from) {
        mute_.non_blocking(true);
    }
    /// Takes what has come. @return  how many were new; one that is repeated is not.
    int take() {
        std::array<char, 2000> buffer{};
        asio::ip::udp::endpoint sender;
        std::error_code error;
        int added = 0;
        while (const std::size_t size = mute_.receive_from(asio::buffer(buffer), sender, 0, error)) {
            const std::string packet(buffer.data(), size);
            if (sender.port() != from_ || packet.find("ping") != std::string::npos) continue;
            added += seen_.insert(packet).second ? 1 : 0;
        }
        return added;
    }

  private:
    asio::ip::udp::socket& mute_;
    std::uint16_t from_;
    std::set<std::string> seen_;
};

/// A machine that has gone without a trace: its port is open, and nobody answers.
TEST(OpenDhtFailure, does_not_wait_for_a_node_again_that_does_not_answer) {
    Swarm swarm;
    auto first = swarm.add();
    for (int i = 0; i < 7; ++i) swarm.add({first});
    ASSERT_TRUE(swarm.wait_for_nodes(1));
    swarm.publish(*swarm.nodes[1], "before");  // all of them store it
    ASSERT_TRUE(swarm.wait_until([&] { return swarm.nodes[1]->status().nodes == 7; }));
    const asio::ip::udp::endpoint where(asio::ip::address_v4::loopback(), swarm.nodes[7]->port());
    swarm.nodes[7]->shut_down();
    asio::ip::udp::socket mute(swarm.context, where);
    Questions questions(mute, swarm.nodes[1]->port());
    {
        const GivesUp opendht(swarm, where);
        swarm.publish(*swarm.nodes[1], "0");
        EXPECT_FALSE(opendht.gave_up) << "a machine that is slow is so for both";
    }
    EXPECT_TRUE(swarm.wait_until([&] { return swarm.nodes[1]->status().nodes == 6; }));
    EXPECT_GT(questions.take(), 0) << "it did not know that it is gone";
    // Nobody waits for an answer who has not asked: so however slow the machine, nothing waits for it again.
    for (int i = 1; i < 20; ++i) swarm.publish(*swarm.nodes[1], std::to_string(i));
    EXPECT_EQ(questions.take(), 0);
    // It was only away for a while: it comes back by itself.
    mute.close();
    OpenDhtSettings settings = Swarm::make_settings();
    settings.port = where.port();
    auto back = swarm.add(settings);
    EXPECT_TRUE(swarm.wait_until([&] { return back->status().nodes > 0; }));
    EXPECT_EQ(swarm.read(*back), Values{"19"});
}

TEST(OpenDhtFailure, two_halves_merge_when_one_learns_of_the_other) {
    Swarm swarm;
    std::vector<std::shared_ptr<OpenDhtDirectory>> left, right;
    left.push_back(swarm.add());
    right.push_back(swarm.add());
    for (int i = 0; i < 3; ++i) {
        left.push_back(swarm.add({left[0]}));
        right.push_back(swarm.add({right[0]}));
    }
    ASSERT_TRUE(swarm.wait_for_nodes(1));
    std::vector<std::set<std::string>> seen(swarm.nodes.size());
    std::vector<std::shared_ptr<void>> tokens;
    for (std::size_t i = 0; i < swarm.nodes.size(); ++i)
        tokens.push_back(swarm.nodes[i]->watch(
            "test/key", [&seen, i](const Record& record) { seen[i].emplace(as_text(record.value)); }));
    swarm.publish(*left[1], "left", 120s);
    swarm.publish(*right[1], "right", 120s);
    EXPECT_EQ(swarm.read(*left[2]), Values{"left"});
    EXPECT_EQ(swarm.read(*right[2]), Values{"right"});
    // One node learns one address; nobody else does anything.
    left[3]->learn({"127.0.0.1", right[2]->port()});
    EXPECT_TRUE(swarm.wait_until([&] {
        return std::all_of(seen.begin(), seen.end(), [](const auto& values) { return values.size() == 2; });
    }));
    for (const auto& node : swarm.nodes) EXPECT_EQ(swarm.read(*node), (Values{"left", "right"}));
}

TEST(OpenDhtFailure, finds_a_bootstrap_node_that_starts_late_and_says_why_not_before) {
    Swarm swarm;
    auto late = swarm.add();
    const std::uint16_t port = late->port();
    late->shut_down();
    swarm.nodes.clear();
    OpenDhtSettings settings = Swarm::make_settings();
    settings.bootstrap = {{"127.0.0.1", port}, {"no-such-host.invalid", 31337}};
    auto early = swarm.add(settings);
    ASSERT_TRUE(swarm.wait_until([&] { return !early->status().bootstrap[0].reason.empty(); }));
    ASSERT_TRUE(swarm.wait_until([&] { return !early->status().bootstrap[1].reason.empty(); }));
    EXPECT_NE(early->status().bootstrap[0].reason.find("no answer from 127.0.0.1:" + std::to_string(port)),
              std::string::npos);
    EXPECT_NE(early->status().bootstrap[1].reason.find("'no-such-host.invalid' cannot be resolved"),
              std::string::npos);
    swarm.publish(*early, "waiting", 120s);
    OpenDhtSettings late_settings = Swarm::make_settings();
    late_settings.port = port;
    auto again = swarm.add(late_settings);
    EXPECT_TRUE(swarm.wait_until([&] { return early->status().bootstrap[0].reachable; }));
    EXPECT_TRUE(early->status().bootstrap[0].reason.empty());
    EXPECT_TRUE(swarm.wait_until([&] { return swarm.read(*again) == Values{"waiting"}; }));
}

TEST(OpenDhtFailure, says_that_a_bootstrap_address_is_its_own) {
    Swarm swarm;
    auto node = swarm.add();
    node->add_bootstrap({"127.0.0.1", node->port()});
    ASSERT_TRUE(swarm.wait_until([&] { return !node->status().bootstrap[0].reason.empty(); }));
    EXPECT_NE(node->status().bootstrap[0].reason.find("is this peer itself"), std::string::npos);
}

/// Everybody else is gone, and nobody has said so.
TEST(OpenDhtFailure, a_peer_that_is_left_alone_does_not_wait_until_opendht_gives_up) {
    Swarm swarm;
    auto first = swarm.add();
    auto second = swarm.add({first});
    ASSERT_TRUE(swarm.wait_for_nodes(1));
    swarm.publish(*second, "before");
    const asio::ip::udp::endpoint where(asio::ip::address_v4::loopback(), first->port());
    first->shut_down();
    asio::ip::udp::socket mute(swarm.context, where);
    const GivesUp opendht(swarm, where);
    swarm.publish(*second, "alone");
    EXPECT_FALSE(opendht.gave_up);
    EXPECT_EQ(swarm.read(*second), Values{"alone"});
}

awaitable<void> expect_cancelled(OpenDhtDirectory& directory, bool& cancelled) {
    try {
        co_await directory.publish("test/key", "", Bytes(1), 60s);
        co_await directory.read("test/key");
    } catch (const Error& error) {
        cancelled = error.kind() == ErrorKind::cancelled;
    }
}

TEST(OpenDhtFailure, shuts_down_at_once_while_somebody_waits) {
    Swarm swarm;
    auto first = swarm.add();
    auto second = swarm.add({first});
    ASSERT_TRUE(swarm.wait_for_nodes(1));
    first->shut_down();  // it does not answer any more
    bool cancelled = false;
    asio::co_spawn(swarm.context, expect_cancelled(*second, cancelled), asio::detached);
    swarm.context.run_for(10ms);
    second->shut_down();
    EXPECT_TRUE(swarm.wait_until([&] { return cancelled; }));
}

}  // namespace
}  // namespace shoal::dht
