#include "shoal/data/permutation.h"

#include <gtest/gtest.h>
#include <vector>

namespace shoal::data {
namespace {

TEST(Permutation, VisitsEveryElementOnceAtAnySize) {
    for (std::uint64_t size = 1; size <= 300; ++size) {
        const Permutation order(size, 7);
        std::vector<int> seen(size);
        for (std::uint64_t i = 0; i < size; ++i) {
            ASSERT_LT(order(i), size);
            ++seen[order(i)];
        }
        EXPECT_EQ(seen, std::vector<int>(size, 1)) << size;
    }
}

TEST(Permutation, WorksAtTheLargestSizes) {
    const Permutation order(~std::uint64_t{0}, 3);
    EXPECT_NE(order(0), order(1));
    EXPECT_LT(order(~std::uint64_t{0} - 1), ~std::uint64_t{0});
}

TEST(Permutation, DependsOnTheKeyAndMixesWell) {
    const std::uint64_t size = 10000;
    const Permutation first(size, 1), second(size, 2);
    int equal = 0, lower = 0;
    for (std::uint64_t i = 0; i < size; ++i) {
        equal += first(i) == second(i);
        lower += i < size / 2 && first(i) < size / 2;
    }
    EXPECT_LT(equal, 10);           // one is expected
    EXPECT_NEAR(lower, 2500, 150);  // half of the first half stays there
}

TEST(Permutation, IsFixedForEver) {
    const Permutation order(1000, 42);
    EXPECT_EQ((std::vector<std::uint64_t>{order(0), order(1), order(2), order(999)}),
              (std::vector<std::uint64_t>{41, 306, 776, 90}));
}

}  // namespace
}  // namespace shoal::data
