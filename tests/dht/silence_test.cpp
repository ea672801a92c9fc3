#include "shoal/dht/silence.h"

#include <gtest/gtest.h>

namespace shoal::dht {
namespace {

using namespace std::chrono_literals;

const Bytes kRequest{1, 2, 3};

::dht::SockAddr address(std::uint16_t port) {
    ::dht::SockAddr result;
    result.setFamily(AF_INET);
    result.setPort(port);
    return result;
}

/// Looks whenever it is asked to, until a time; counts what was sent again.
struct Watch {
    TimePoint now{};
    Silence silence;
    std::size_t sent_again = 0, pinged = 0;

    void until(TimePoint end) {
        for (; now < end; now = now + Silence::kTick) {
            const Silence::Actions actions = silence.look(now);
            sent_again += actions.send_again.size();
            pinged += actions.ping.size();
        }
    }
    void wait(Duration duration) { until(now + duration); }
};

TEST(Silence, asks_three_times_before_it_gives_up_and_is_done_before_opendht_asks_again) {
    Watch watch;
    watch.silence.asked(address(1), kRequest, watch.now);
    watch.wait(700ms);
    EXPECT_EQ(watch.sent_again, 2u);
    EXPECT_FALSE(watch.silence.is_silent(address(1)));
    watch.until(TimePoint{1s});
    EXPECT_TRUE(watch.silence.is_silent(address(1)));
    EXPECT_EQ(watch.sent_again, 2u);
}

TEST(Silence, ends_with_the_first_word) {
    Watch watch;
    watch.silence.asked(address(1), kRequest, watch.now);
    watch.silence.asked(address(2), kRequest, watch.now);
    watch.wait(600ms);
    watch.silence.heard_from(address(1), watch.now);
    watch.wait(1s);
    EXPECT_FALSE(watch.silence.is_silent(address(1)));
    EXPECT_TRUE(watch.silence.is_silent(address(2)));
    watch.silence.heard_from(address(2), watch.now);
    EXPECT_FALSE(watch.silence.is_silent(address(2)));
    EXPECT_EQ(watch.silence.look(watch.now).look_again_after, Duration(0)) << "nobody is waited for";
}

TEST(Silence, believes_that_a_port_is_closed_only_of_those_whom_it_has_asked) {
    Watch watch;
    watch.silence.refused_by(address(1), watch.now);
    EXPECT_FALSE(watch.silence.is_silent(address(1)));
    watch.silence.asked(address(1), kRequest, watch.now);
    watch.silence.refused_by(address(1), watch.now);
    EXPECT_TRUE(watch.silence.is_silent(address(1)));
}

TEST(Silence, asks_now_and_then_whether_they_are_back_and_forgets_them_at_last) {
    Watch watch;
    watch.silence.asked(address(1), kRequest, watch.now);
    watch.silence.heard_from(address(1), watch.now);
    watch.silence.asked(address(1), kRequest, watch.now);
    watch.silence.refused_by(address(1), watch.now);
    watch.until(TimePoint{Silence::kFirstPing});
    EXPECT_EQ(watch.pinged, 0u);
    watch.wait(Silence::kTick);
    EXPECT_EQ(watch.pinged, 1u);
    watch.until(TimePoint{Silence::kForget});
    EXPECT_GE(watch.pinged, 10u);
    EXPECT_LE(watch.pinged, 15u);
    EXPECT_TRUE(watch.silence.is_silent(address(1)));
    watch.wait(Silence::kTick);
    EXPECT_FALSE(watch.silence.is_silent(address(1)));
}

TEST(Silence, does_not_go_on_asking_whoever_never_answered) {
    Watch watch;
    watch.silence.asked(address(1), kRequest, watch.now);
    watch.until(TimePoint{5min});
    EXPECT_TRUE(watch.silence.is_silent(address(1)));
    EXPECT_EQ(watch.sent_again, 2u);
    EXPECT_EQ(watch.pinged, 0u);
}

TEST(Silence, has_more_patience_where_answers_take_long) {
    Watch watch;
    for (int i = 0; i < 50; ++i) {
        watch.silence.asked(address(1), kRequest, watch.now);
        watch.wait(600ms);
        watch.silence.heard_from(address(1), watch.now);
    }
    watch.sent_again = 0;
    watch.silence.asked(address(1), kRequest, watch.now);
    watch.wait(1s);
    EXPECT_EQ(watch.sent_again, 0u);
    EXPECT_FALSE(watch.silence.is_silent(address(1)));
}

TEST(Silence, does_not_blame_others_for_having_been_asleep_itself) {
    Watch watch;
    watch.silence.asked(address(1), kRequest, watch.now);
    watch.now = watch.now + 60s;
    watch.wait(200ms);
    EXPECT_EQ(watch.sent_again, 1u);
    EXPECT_FALSE(watch.silence.is_silent(address(1)));
}

TEST(Silence, keeps_no_more_addresses_than_it_may) {
    Watch watch;
    for (std::size_t i = 0; i <= Silence::kMaximumAddresses; ++i)
        watch.silence.asked(address(static_cast<std::uint16_t>(1 + i)), kRequest, watch.now);
    EXPECT_EQ(watch.silence.look(watch.now + 1s).send_again.size(), Silence::kMaximumAddresses);
}

}  // namespace
}  // namespace shoal::dht
