// A round waits for a late peer as long as what it brings is more than what the others could compute
// meanwhile.
#include "shoal/collective/waiting_worth.h"

#include <gtest/gtest.h>
#include <limits>
#include <vector>

#include "shoal/base/random.h"

namespace shoal::collective {
namespace {

TEST(WaitingWorth, of_a_single_late_peer_ends_where_it_costs_what_it_brings) {
    // Twice 50 samples, while 100 a second are not computed: one second.
    const double bound = kLossOfTheLeftOut * 50 / 100;
    EXPECT_EQ(worthwhile_wait(std::vector<LatePeer>{{bound, 50}}, 100, 10), bound);
    EXPECT_EQ(worthwhile_wait(std::vector<LatePeer>{{bound * 1.001, 50}}, 100, 10), 0);
}

TEST(WaitingWorth, of_one_who_brings_nothing_is_nothing) {
    EXPECT_EQ(worthwhile_wait(std::vector<LatePeer>{{0.001, 0}}, 100, 10), 0);
    EXPECT_EQ(worthwhile_wait({}, 100, 10), 0);
}

TEST(WaitingWorth, of_many_together_is_more_than_of_each_alone) {
    const LatePeer one{1.5, 50};
    EXPECT_EQ(worthwhile_wait(std::vector<LatePeer>(1, one), 100, 10), 0);
    EXPECT_EQ(worthwhile_wait(std::vector<LatePeer>(2, one), 100, 10), 1.5);
}

TEST(WaitingWorth, takes_those_that_pay_and_leaves_the_rest) {
    const std::vector<LatePeer> late = {{30, 5}, {0.2, 40}, {0.5, 40}};
    EXPECT_EQ(worthwhile_wait(late, 100, 10), 0.5) << "in whatever order they are named";
}

TEST(WaitingWorth, of_who_never_comes_is_nothing) {
    constexpr double kNever = std::numeric_limits<double>::infinity();
    EXPECT_EQ(worthwhile_wait(std::vector<LatePeer>{{kNever, 1e9}}, 100, 10), 0);
    EXPECT_EQ(worthwhile_wait(std::vector<LatePeer>{{kNever, 1e9}, {0.1, 50}}, 100, 10), 0.1);
}

TEST(WaitingWorth, is_for_everybody_while_nobody_is_ready) {
    EXPECT_EQ(worthwhile_wait(std::vector<LatePeer>{{7, 1}}, 0, 10), 7);
}

/// The definition, by trying every choice.
double best_balance(const std::vector<LatePeer>& late, double ready, double batch_seconds, double wait) {
    double balance = -ready * wait;
    for (const LatePeer& peer : late) {
        if (peer.seconds > wait) continue;
        balance += kLossOfTheLeftOut * peer.samples;
        balance -= peer.samples / batch_seconds * (wait - peer.seconds);
    }
    return balance;
}

TEST(WaitingWorth, is_the_best_of_all_choices) {
    Random random(3);
    for (int instance = 0; instance < 2000; ++instance) {
        std::vector<LatePeer> late(1 + random.below(8));
        for (LatePeer& peer : late) peer = {5 * random.uniform(), 100 * random.uniform()};
        const double ready = 200 * random.uniform(), batch_seconds = 1 + 9 * random.uniform();
        const double chosen = worthwhile_wait(late, ready, batch_seconds);
        const double balance = best_balance(late, ready, batch_seconds, chosen);
        EXPECT_GE(balance, -1e-9);
        for (const LatePeer& other : late)
            EXPECT_GE(balance + 1e-9, best_balance(late, ready, batch_seconds, other.seconds));
    }
}

}  // namespace
}  // namespace shoal::collective
