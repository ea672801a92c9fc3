// Real UDP sockets on loopback.
#include "dht/directory_swarm.h"

#include <gtest/gtest.h>

namespace shoal::dht {
namespace {

TEST(OpenDht, a_peer_alone_reads_and_sees_what_it_publishes) {
    Swarm swarm;
    auto alone = swarm.add();
    Values seen;
    const auto token =
        alone->watch("test/key", [&](const Record& record) { seen.emplace_back(as_text(record.value)); });
    swarm.publish(*alone, "one");
    EXPECT_EQ(swarm.read(*alone), Values{"one"});
    EXPECT_TRUE(swarm.wait_until([&] { return seen == Values{"one"}; }));
    swarm.publish(*alone, "two");
    EXPECT_EQ(swarm.read(*alone), Values{"two"});
    EXPECT_TRUE(swarm.wait_until([&] { return seen == Values{"one", "two"}; }));
}

TEST(OpenDht, what_one_publishes_all_others_read) {
    Swarm swarm;
    auto first = swarm.add();
    for (int i = 0; i < 5; ++i) swarm.add({first});
    ASSERT_TRUE(swarm.wait_for_nodes(1));
    swarm.publish(*swarm.nodes[2], "hello");
    for (const auto& node : swarm.nodes) EXPECT_EQ(swarm.read(*node), Values{"hello"});
    swarm.publish(*swarm.nodes[2], "changed");
    swarm.publish(*swarm.nodes[3], "another");
    for (const auto& node : swarm.nodes) {
        EXPECT_EQ(swarm.read(*node), (Values{"another", "changed"}));
        EXPECT_EQ(node->status().refused_packets, 0u) << "of honest nodes none is refused";
    }
}

/// All of these nodes watch, and each sees what one of them publishes, one after the other.
void expect_pushes(int nodes, int changes) {
    Swarm swarm;
    auto first = swarm.add();
    for (int i = 1; i < nodes; ++i) swarm.add({first});
    ASSERT_TRUE(swarm.wait_for_nodes(1));
    std::vector<std::string> newest(swarm.nodes.size());
    std::vector<std::shared_ptr<void>> tokens;
    for (std::size_t i = 0; i < swarm.nodes.size(); ++i)
        tokens.push_back(swarm.nodes[i]->watch(
            "test/key", [&newest, i](const Record& record) { newest[i] = as_text(record.value); }));
    for (int i = 0; i < changes; ++i) {
        const std::string value = std::to_string(i);
        swarm.publish(*swarm.nodes[4], value);
        EXPECT_TRUE(swarm.wait_until([&] {
            return std::all_of(newest.begin(), newest.end(), [&](const auto& seen) { return seen == value; });
        })) << value;
    }
}

TEST(OpenDht, pushes_every_change_to_all_that_watch) {
    expect_pushes(6, 20);
}

TEST(OpenDht, pushes_to_watchers_that_do_not_store_the_record_themselves) {
    expect_pushes(24, 5);
}

TEST(OpenDht, a_watcher_gets_what_was_there_before_it_and_nothing_after_its_end) {
    Swarm swarm;
    auto first = swarm.add();
    auto second = swarm.add({first});
    ASSERT_TRUE(swarm.wait_for_nodes(1));
    swarm.publish(*first, "before");
    Values seen, seen_late;
    auto token =
        second->watch("test/key", [&](const Record& record) { seen.emplace_back(as_text(record.value)); });
    EXPECT_TRUE(swarm.wait_until([&] { return seen == Values{"before"}; }));
    auto late = second->watch("test/key",
                              [&](const Record& record) { seen_late.emplace_back(as_text(record.value)); });
    EXPECT_TRUE(swarm.wait_until([&] { return seen_late == Values{"before"}; }));
    token.reset();
    swarm.publish(*first, "after");
    EXPECT_TRUE(swarm.wait_until([&] { return seen_late == Values{"before", "after"}; }));
    EXPECT_EQ(seen, Values{"before"});
}

TEST(OpenDht, reads_what_is_new_where_somebody_watches_or_has_just_ended_to) {
    Swarm swarm;
    auto first = swarm.add();
    for (int i = 0; i < 23; ++i) swarm.add({first});
    ASSERT_TRUE(swarm.wait_for_nodes(1));
    swarm.publish(*first, "before");
    std::size_t seen = 0;
    std::vector<std::shared_ptr<void>> tokens;
    for (const auto& node : swarm.nodes)
        tokens.push_back(node->watch("test/key", [&](const Record&) { ++seen; }));
    EXPECT_TRUE(swarm.wait_until([&] { return seen == swarm.nodes.size(); }));
    for (std::size_t i = 0; i < tokens.size(); i += 2) tokens[i].reset();
    for (int i = 0; i < 5; ++i) {
        const std::string value = std::to_string(i);
        swarm.publish(*first, value);
        for (const auto& node : swarm.nodes) EXPECT_EQ(swarm.read(*node), Values{value});
    }
}

TEST(OpenDht, forgets_what_has_expired) {
    Swarm swarm;
    auto first = swarm.add();
    auto second = swarm.add({first});
    ASSERT_TRUE(swarm.wait_for_nodes(1));
    swarm.publish(*first, "short", 1s);
    EXPECT_EQ(swarm.read(*second), Values{"short"});
    EXPECT_TRUE(swarm.wait_until([&] { return swarm.read(*second).empty(); }));
}

TEST(OpenDht, a_goodbye_takes_the_record_back_although_it_would_have_lived_longer) {
    Swarm swarm;
    auto first = swarm.add();
    auto second = swarm.add({first});
    ASSERT_TRUE(swarm.wait_for_nodes(1));
    swarm.publish(*first, "here", 300s);
    swarm.publish(*first, "", 1s);
    const auto records = swarm.run(second->read("test/key"));
    ASSERT_EQ(records.size(), 1u);
    EXPECT_TRUE(records[0].value.empty());
    EXPECT_GT(records[0].expires, swarm.clock.wall_now() + 250s);
}

TEST(OpenDht, runs_of_different_names_do_not_mix) {
    Swarm swarm;
    auto first = swarm.add();
    OpenDhtSettings settings = Swarm::make_settings();
    settings.run = "other";
    settings.bootstrap = {{"127.0.0.1", first->port()}};
    auto stranger = swarm.add(settings);
    ASSERT_TRUE(swarm.wait_until([&] { return !stranger->status().bootstrap[0].reason.empty(); }));
    EXPECT_EQ(first->status().nodes, 0u);
    EXPECT_EQ(stranger->status().nodes, 0u);
}

TEST(OpenDht, names_the_port_that_is_taken) {
    Swarm swarm;
    auto first = swarm.add();
    OpenDhtSettings settings = Swarm::make_settings();
    settings.port = first->port();
    try {
        swarm.add(settings);
        FAIL();
    } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::system);
        EXPECT_NE(std::string(error.what()).find("UDP port " + std::to_string(first->port())),
                  std::string::npos);
    }
}

}  // namespace
}  // namespace shoal::dht
