#include "shoal/collective/line_pacer.h"

#include <gtest/gtest.h>

#include "shoal/sim/simulation.h"

namespace shoal::collective {
namespace {

using namespace std::chrono_literals;

class LinePacing : public testing::Test {
  protected:
    awaitable<void> send(LinePacer& pacer, std::size_t bytes, int times) {
        for (int i = 0; i < times; ++i) {
            co_await pacer.take(bytes);
            sent_.push_back(simulation_.clock().now());
        }
    }
    double since_start(std::size_t index) const { return seconds(sent_.at(index) - start_); }

    sim::Simulation simulation_{1};
    const TimePoint start_ = simulation_.clock().now();
    std::vector<TimePoint> sent_;
};

TEST_F(LinePacing, sends_as_fast_as_the_line_whoever_sends) {
    LinePacer pacer(simulation_.clock(), 1000);
    for (int i = 0; i < 3; ++i) simulation_.spawn(send(pacer, 100, 10));
    simulation_.run_for(10s);
    ASSERT_EQ(sent_.size(), 30U);
    EXPECT_NEAR(since_start(29), 2.9, 0.0101) << "the last goes when the others have had their time";
    for (std::size_t i = 1; i < sent_.size(); ++i)
        EXPECT_NEAR(since_start(i) - since_start(i - 1), 0.1, 0.011);
}

TEST_F(LinePacing, saves_no_more_than_a_moment_of_a_pause) {
    LinePacer pacer(simulation_.clock(), 1000);
    simulation_.spawn(send(pacer, 100, 1));
    simulation_.run_for(60s);
    const std::size_t before = sent_.size();
    simulation_.spawn(send(pacer, 100, 10));
    simulation_.run_for(60s);
    ASSERT_EQ(sent_.size(), before + 10);
    EXPECT_NEAR(since_start(before + 9) - since_start(before), 0.9 - 0.01, 1e-6);
}

TEST_F(LinePacing, holds_nothing_back_where_no_line_is_known) {
    LinePacer pacer(simulation_.clock(), 0);
    simulation_.spawn(send(pacer, 1 << 30, 100));
    simulation_.run_for(1ms);
    ASSERT_EQ(sent_.size(), 100U);
    EXPECT_EQ(since_start(99), 0);
}

}  // namespace
}  // namespace shoal::collective
