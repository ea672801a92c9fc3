// The smoothed speed that a peer reports of itself.
#include <cmath>
#include <gtest/gtest.h>
#include <limits>

#include "shoal/collective/progress_record.h"

namespace shoal::collective {
namespace {

TEST(PerformanceEma, IsTheSpeedFromTheFirstUpdateOn) {
    PerformanceEma speed;
    EXPECT_EQ(speed.samples_per_second(), 0);
    speed.update(Samples{10}, 2);
    EXPECT_DOUBLE_EQ(speed.samples_per_second(), 5);
    for (int i = 0; i < 200; ++i) speed.update(Samples{10}, 1);
    EXPECT_NEAR(speed.samples_per_second(), 10, 1e-6);
}

TEST(PerformanceEma, FollowsTheFormulaOfTheNotes) {
    PerformanceEma speed(0.25);
    speed.update(Samples{1}, 1);
    speed.update(Samples{1}, 3);
    const double average = 0.25 * 3 + 0.75 * 0.25;
    EXPECT_DOUBLE_EQ(speed.samples_per_second(), (1 - 0.75 * 0.75) / average);
}

TEST(PerformanceEma, IgnoresNonsense) {
    PerformanceEma speed;
    speed.update(Samples{0}, 1);
    speed.update(Samples{1}, -1);
    speed.update(Samples{1}, std::numeric_limits<double>::quiet_NaN());
    EXPECT_EQ(speed.samples_per_second(), 0);
    speed.update(Samples{1}, 0);
    EXPECT_EQ(speed.samples_per_second(), kMaximumSamplesPerSecond);
}

}  // namespace
}  // namespace shoal::collective
