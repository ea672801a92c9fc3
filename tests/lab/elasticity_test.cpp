// `shoal lab elasticity`: its schedule and statistics, and a small run of real peers that come and go.
#include "lab/namespaces.h"
#include "run/program.h"
#include "run/temporary_folder.h"

#include <cmath>
#include <fstream>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "shoal/lab/elasticity_schedule.h"

namespace shoal::lab {
namespace {

using run::Program;
using run::program_folder;
using run::TemporaryFolder;

TEST(ElasticitySchedule, LetsPartTimePeersComeAndGoSeveralTimesInBothWays) {
    const auto peers = elastic_peers();
    ASSERT_EQ(peers.size(), 8U);
    for (const bool quick : {false, true}) {
        const auto schedule = elasticity_schedule(quick);
        const auto members = memberships(schedule);  // throws if somebody comes twice
        ASSERT_EQ(members.size(), schedule.size());
        std::vector<std::size_t> came(peers.size()), goodbyes(peers.size()), kills(peers.size());
        for (const Change& change : schedule) {
            for (const std::size_t peer : change.come) ++came.at(peer);
            for (const std::size_t peer : change.say_goodbye) ++goodbyes.at(peer);
            for (const std::size_t peer : change.are_killed) ++kills.at(peer);
        }
        std::size_t all_goodbyes = 0, all_kills = 0;
        for (std::size_t i = 0; i < peers.size(); ++i) {
            if (peers[i].part_time) {
                EXPECT_GE(came[i], quick ? 2U : 3U) << peers[i].name;
                EXPECT_GE(goodbyes[i] + kills[i], quick ? 1U : 3U) << peers[i].name;
            } else {
                EXPECT_EQ(came[i], 1U) << peers[i].name;
                EXPECT_EQ(goodbyes[i] + kills[i], 0U) << peers[i].name;
            }
            all_goodbyes += goodbyes[i], all_kills += kills[i];
        }
        EXPECT_GE(all_goodbyes, quick ? 2U : 6U);
        EXPECT_GE(all_kills, quick ? 2U : 6U);
    }
}

TEST(ElasticitySchedule, KnowsItsMembers) {
    const std::vector<Change> schedule = {{{2, 0}, {}, {}}, {{1}, {0}, {}}, {{0}, {}, {2, 1}}};
    const std::vector<std::vector<std::size_t>> expected = {{0, 2}, {1, 2}, {0}};
    EXPECT_EQ(memberships(schedule), expected);
    EXPECT_THROW(memberships({{{0}, {}, {}}, {{0}, {}, {}}}), Error);
    EXPECT_THROW(memberships({{{0}, {1}, {}}}), Error);
    EXPECT_THROW(memberships({{{0}, {}, {}}, {{}, {0}, {0}}}), Error);
}

/// A window of ten steps of 100 samples, at a share of what its speed allows.
Window window_at(double share, double speed = 50) {
    Window window;
    window.speed = speed;
    window.measured = {1000 / speed / share, 1000, 10};
    return window;
}

TEST(ElasticityWindows, AreHeldAgainstTheSumOfSpeeds) {
    EXPECT_DOUBLE_EQ(window_at(0.9).expected_steps_per_second(), 0.5);
    EXPECT_DOUBLE_EQ(window_at(0.9).ratio(), 0.9);
    const Follows follows = follow({window_at(0.9), window_at(1.05, 200)});
    EXPECT_NEAR(follows.mean_ratio, 0.975, 1e-12);
    EXPECT_NEAR(follows.mean_error, 0.075, 1e-12);
    EXPECT_NEAR(follows.worst_error, 0.1, 1e-12);
    EXPECT_NEAR(follow({window_at(1.2), window_at(0.9)}).worst_error, 0.2, 1e-12);
}

TEST(ElasticityWindows, AWindowWithoutAStepIsNoGoodWindow) {
    Window idle;
    idle.speed = 50;
    EXPECT_TRUE(std::isnan(idle.ratio()));
    EXPECT_TRUE(std::isnan(follow({window_at(1), idle, window_at(1)}).worst_error));
    EXPECT_TRUE(std::isnan(follow({idle, window_at(1)}).mean_error));
    EXPECT_TRUE(std::isnan(follow({}).mean_ratio));
}

/// 20 steps whose loss falls from 38 to 0 by 2 a step.
SwarmSteps falling(double more = 0, std::int64_t from = 1, std::int64_t to = 20) {
    SwarmSteps steps;
    for (std::int64_t step = from; step <= to; ++step) {
        StepLine line;
        line.swarm_loss = 40 - 2 * static_cast<double>(step) + more;
        steps[step] = line;
    }
    return steps;
}

TEST(LossComparison, OfEqualRunsFindsNoDifference) {
    const LossComparison same = compare_losses(falling(), falling());
    EXPECT_EQ(same.steps, 20);
    EXPECT_EQ(same.fall, 36);  // means of two steps at each end: 37 and 1
    EXPECT_EQ(same.mean_difference, 0);
    EXPECT_EQ(same.standard_error, 0);
    EXPECT_EQ(same.worst_share_of_fall(), 0);
}

TEST(LossComparison, FindsAConstantDifferenceAndOneThatCancelsOut) {
    const LossComparison above = compare_losses(falling(0.9), falling());
    EXPECT_NEAR(above.share_of_fall(), 0.025, 1e-12);
    EXPECT_NEAR(above.worst_share_of_fall(), 0.025, 1e-12);
    EXPECT_NEAR(above.standard_error, 0, 1e-12);
    SwarmSteps bent = falling();
    bent.at(1).swarm_loss += 3.6, bent.at(2).swarm_loss += 3.6;
    bent.at(19).swarm_loss -= 3.6, bent.at(20).swarm_loss -= 3.6;
    const LossComparison cancelled = compare_losses(bent, falling());
    EXPECT_NEAR(cancelled.share_of_fall(), 0, 1e-12);
    EXPECT_NEAR(cancelled.worst_share_of_fall(), 0.1, 1e-12);
    EXPECT_NEAR(cancelled.standard_error, std::sqrt(4 * 3.6 * 3.6 / 19 / 20), 1e-12);
}

TEST(LossComparison, TakesTenCommonStepsAtLeast) {
    EXPECT_EQ(compare_losses(falling(0, 11, 30), falling()).steps, 10);
    EXPECT_EQ(compare_losses(falling(0, 11, 30), falling()).mean_difference, 0);
    EXPECT_EQ(compare_losses(falling(0, 12, 30), falling()).steps, 9);
    EXPECT_TRUE(std::isnan(compare_losses(falling(0, 12, 30), falling()).share_of_fall()));
}

TEST(Elasticity, PeersComeAndGoAsWrittenAndAllHoldTheSameParameters) {
    if (!may_make_namespaces()) return;
    const TemporaryFolder folder;
    Program lab(program_folder() / "shoal",
                {"lab", "elasticity", "--quick", "--json", folder / "result.json", "--plot",
                 folder / "result.png", "--folder", folder / "peers"},
                folder.path());
    ASSERT_EQ(lab.wait(std::chrono::seconds(500)), 0) << lab.output() << lab.errors();
    std::ifstream file(folder / "result.json");
    const nlohmann::json result = nlohmann::json::parse(file);
    const auto schedule = elasticity_schedule(true);
    EXPECT_EQ(result.at("windows").size(), schedule.size());
    EXPECT_EQ(result.at("windows").back().at("peers"), 8);
    std::size_t killed = 0;
    for (const nlohmann::json& session : result.at("sessions")) {
        killed += session.at("killed").get<bool>() ? 1 : 0;
        // Who comes again contributes anew, after its own start.
        EXPECT_GT(session.at("first_contribution").get<double>(), session.at("from").get<double>())
            << session;
    }
    EXPECT_EQ(result.at("sessions").size(), 12U);  // eight, and the four part-time ones for a second time
    EXPECT_EQ(killed, 2U);
    EXPECT_FALSE(result.at("loss").empty());
    EXPECT_FALSE(result.at("loss_fixed").empty());
    expect_met(result, {"parameters"}, 2);
    EXPECT_GT(std::filesystem::file_size(folder / "result.png"), 1000U);
}

}  // namespace
}  // namespace shoal::lab
