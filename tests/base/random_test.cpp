#include "shoal/base/random.h"

#include <algorithm>
#include <cmath>
#include <gtest/gtest.h>
#include <numeric>
#include <vector>

namespace shoal {
namespace {

TEST(Random, GivesTheSameNumbersOnEveryMachine) {
    // Recorded once; a change here means that no old seed replays any more.
    Random random(42);
    EXPECT_EQ(random.next(), 0x15780b2e0c2ec716U);
    EXPECT_EQ(random.next(), 0x6104d9866d113a7eU);
    EXPECT_EQ(random.next(), 0xae17533239e499a1U);
}

TEST(Random, DiffersBySeedAndBySplit) {
    Random one(1);
    Random two(2);
    EXPECT_NE(one.next(), two.next());
    Random child = one.split();
    EXPECT_NE(child.next(), one.next());
    EXPECT_NE(Random::from_entropy().next(), Random::from_entropy().next());
}

TEST(Random, StaysBelowItsBoundAndReachesAllOfIt) {
    Random random(3);
    std::vector<int> counts(7);
    for (int i = 0; i < 70000; ++i) ++counts.at(random.below(7));
    for (const int count : counts) EXPECT_NEAR(count, 10000, 500);  // more than five standard deviations
    EXPECT_EQ(random.below(1), 0U);
    const std::uint64_t large = (1ULL << 63) + 1;
    for (int i = 0; i < 1000; ++i) EXPECT_LT(random.below(large), large);
}

TEST(Random, IsUniformBetweenZeroAndOne) {
    Random random(4);
    double sum = 0;
    for (int i = 0; i < 100000; ++i) {
        const double u = random.uniform();
        ASSERT_GE(u, 0);
        ASSERT_LT(u, 1);
        sum += u;
    }
    EXPECT_NEAR(sum / 100000, 0.5, 0.005);
}

TEST(Random, IsNormalWithMeanZeroAndVarianceOne) {
    Random random(5);
    const int n = 200000;
    double sum = 0, squares = 0, fourth = 0;
    for (int i = 0; i < n; ++i) {
        const double x = random.normal();
        ASSERT_TRUE(std::isfinite(x));
        sum += x;
        squares += x * x;
        fourth += x * x * x * x;
    }
    EXPECT_NEAR(sum / n, 0, 0.015);
    EXPECT_NEAR(squares / n, 1, 0.02);
    EXPECT_NEAR(fourth / n, 3, 0.15);
}

TEST(Random, NormalIsBoxMullerToTheLastDigits) {
    Random ours(6);
    Random same(6);
    for (int i = 0; i < 10000; ++i) {
        const double first = same.uniform();
        const double second = same.uniform();
        const double expected = std::sqrt(-2 * std::log(1 - first)) * std::cos(2 * std::acos(-1.0) * second);
        EXPECT_NEAR(ours.normal(), expected, 1e-13);
    }
}

TEST(Random, ShufflesWithoutLosingAnything) {
    Random random(7);
    std::vector<int> items(100);
    std::iota(items.begin(), items.end(), 0);
    std::vector<int> shuffled = items;
    random.shuffle(std::span(shuffled));
    EXPECT_NE(shuffled, items);
    EXPECT_TRUE(std::is_permutation(shuffled.begin(), shuffled.end(), items.begin()));
    std::vector<int> none;
    random.shuffle(std::span(none));
}

}  // namespace
}  // namespace shoal
