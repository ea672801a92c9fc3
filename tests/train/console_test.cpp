// What `shoal train` says while a step takes long.
#include "shoal/train/console.h"

#include <gtest/gtest.h>

namespace shoal::train {
namespace {

collective::SwarmView view(std::int64_t step, std::int64_t samples, double samples_per_second) {
    collective::SwarmView result;
    result.step = Step{step};
    result.samples = Samples{samples};
    result.samples_per_second = samples_per_second;
    result.training_peers = 3;
    result.eta = std::chrono::seconds(95);
    return result;
}

constexpr Samples kTarget{512};

TEST(Console, SaysHowFarTheStepHasCome) {
    EXPECT_EQ(Console::on_the_way(view(0, 120, 4), Step{0}, kTarget),
              "step 1: 120 of 512 samples by 3 peers, about 1:35 left");
    EXPECT_EQ(Console::on_the_way(view(7, 0, 0), Step{7}, kTarget), "step 8: 0 of 512 samples by 3 peers");
}

TEST(Console, SaysThatAFullBatchIsAveraged) {
    EXPECT_EQ(Console::on_the_way(view(7, 512, 4), Step{7}, kTarget),
              "step 8: all 512 samples are there, averaging among 3 peers");
    EXPECT_EQ(Console::on_the_way(view(7, 600, 4), Step{7}, kTarget),
              "step 8: all 512 samples are there, averaging among 3 peers");
}

TEST(Console, SaysWhereAPeerIsGoingThatIsBehind) {
    EXPECT_EQ(Console::on_the_way(view(7, 100, 4), Step{3}, kTarget),
              "on the way to step 7, where the swarm is");
}

TEST(Console, KnowsWhetherAnythingWasSaid) {
    Console console(Step{10}, Log());
    EXPECT_FALSE(console.take_spoken());
    console.on_held_out_loss(Step{1}, 2);
    EXPECT_TRUE(console.take_spoken());
    EXPECT_FALSE(console.take_spoken());
}

}  // namespace
}  // namespace shoal::train
