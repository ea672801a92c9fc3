// Rounds that wait for late peers only as long as it pays, in whole swarms.
#include "collective/training_support.h"

#include <gtest/gtest.h>

namespace shoal::collective {
namespace {

using namespace testing_support;

class AdaptiveQuorum : public ::testing::TestWithParam<std::uint64_t> {};

/// From the fifth to the last of twenty steps.
double step_seconds(const Swarm& swarm) {
    const auto& steps = swarm.nodes[0]->seen->steps;
    return seconds(steps.at(Step{20}).when - steps.at(Step{5}).when) / 15;
}

/// Eight peers that fill a batch in four seconds, and one whose micro-batch of four samples takes as long.
void train_with_a_straggler(Swarm& swarm, bool adaptive) {
    swarm.settings.adaptive_quorum = adaptive;
    for (int i = 0; i < 8; ++i) swarm.add(speed(4, 500ms));
    swarm.add(speed(4, 4s));
    EXPECT_TRUE(swarm.finishes(1000s));
}

TEST_P(AdaptiveQuorum, OneStragglerHoldsUpNobody) {
    Swarm patient(GetParam(), 256, 20), adaptive(GetParam(), 256, 20);
    train_with_a_straggler(patient, false);
    train_with_a_straggler(adaptive, true);
    EXPECT_LT(step_seconds(adaptive), 4 + 0.5 + 0.5) << "computing, a micro-batch, and a little";
    EXPECT_GT(step_seconds(patient), 1.2 * step_seconds(adaptive));
    adaptive.expect_equal_to_one_machine();
}

TEST_P(AdaptiveQuorum, LeavesOutNobodyOfEqualPeers) {
    Swarm swarm(GetParam(), 256, 20);
    swarm.settings.adaptive_quorum = true;
    for (int i = 0; i < 8; ++i) swarm.add(speed(4, 500ms));
    ASSERT_TRUE(swarm.finishes(400s));
    swarm.expect_identical();
    swarm.expect_equal_to_one_machine();
    for (std::int64_t step = 2; step <= 20; ++step)
        EXPECT_EQ(swarm.nodes[0]->seen->averaged.at(Step{step - 1}).contributors.size(), 8U)
            << "step " << step;
}

INSTANTIATE_TEST_SUITE_P(Seeds, AdaptiveQuorum, ::testing::Range<std::uint64_t>(0, 3));

}  // namespace
}  // namespace shoal::collective
