#include "shoal/collective/stall_watch.h"

#include <gtest/gtest.h>

namespace shoal::collective {
namespace {

using namespace std::chrono_literals;

constexpr Duration kStall = 1500ms, kTick = kStall / 4;

class StallWatchTest : public ::testing::Test {
  protected:
    /// Lets time pass in ticks, with a sign of life before each look if wanted. Returns whether the wait was
    /// over its time at the last look.
    bool pass(Duration time, bool alive) {
        bool late = false;
        for (const TimePoint end = now_ + time; now_ < end;) {
            now_ = now_ + kTick;
            if (alive) watch_.excuse(0, now_);
            late = !watch_.check(now_, {}).empty();
            if (late) break;
        }
        return late;
    }

    TimePoint now_ = TimePoint() + 10s;
    StallWatch watch_{1, kStall, {PeerId()}};
};

TEST_F(StallWatchTest, ASilentMemberIsLateAfterTheTimeOut) {
    watch_.check(now_, {});
    watch_.begin(0, now_);
    EXPECT_FALSE(pass(kStall, false));
    EXPECT_TRUE(pass(kTick, false));
}

TEST_F(StallWatchTest, OneThatOnlySaysThatItLivesIsLateAtSixtyTimeOuts) {
    watch_.check(now_, {});
    watch_.begin(0, now_);
    EXPECT_FALSE(pass(60 * kStall, true));
    EXPECT_TRUE(pass(kTick, true));
}

TEST_F(StallWatchTest, WhoStopsToSayItIsLateAfterTheTimeOut) {
    watch_.check(now_, {});
    watch_.begin(0, now_);
    EXPECT_FALSE(pass(10 * kStall, true));
    EXPECT_FALSE(pass(kStall, false));
    EXPECT_TRUE(pass(kTick, false));
}

}  // namespace
}  // namespace shoal::collective
