// Swarms of all kinds of peers under random faults: the invariants hold after each event, and when the faults
// are over all go on together. A seed that fails is a test to keep.
#include "shoal/sim/explorer.h"

#include <gtest/gtest.h>

namespace shoal::sim {
namespace {

class UnderRandomFaults : public ::testing::TestWithParam<std::uint64_t> {};

TEST_P(UnderRandomFaults, InvariantsHoldAndTheSwarmRecovers) {
    const Exploration exploration = explore(GetParam());
    for (const std::string& violation : exploration.violations) ADD_FAILURE() << violation;
    if (HasFailure()) GTEST_FAIL() << exploration.log;
    EXPECT_GT(exploration.comparisons, 20U);
    EXPECT_FALSE(exploration.faults.empty());
}

INSTANTIATE_TEST_SUITE_P(Seeds, UnderRandomFaults, ::testing::Range<std::uint64_t>(1, 31));

TEST(Explorer, SameSeedGivesTheSameEventLogByteForByte) {
    const Exploration first = explore(7), second = explore(7), other = explore(8);
    EXPECT_EQ(first.log, second.log);
    EXPECT_NE(first.log, other.log);
    EXPECT_GT(first.log.size(), 1000U);
}

TEST(Explorer, EveryKindOfFaultHappensAndMostSeedsAskForOneHistory) {
    std::map<std::string, int> faults;
    int one_history = 0;
    constexpr int kSeeds = 12;
    for (std::uint64_t seed = 101; seed < 101 + kSeeds; ++seed) {
        const Exploration exploration = explore(seed);
        for (const auto& [kind, count] : exploration.faults) faults[kind] += count;
        one_history += exploration.one_history_checked;
    }
    for (const char* kind :
         {"crash", "freeze", "thaw", "split", "heal", "join", "leave", "cut", "slow line", "clock jump"})
        EXPECT_GT(faults[kind], 0) << kind;
    EXPECT_GE(one_history, kSeeds / 2);
}

}  // namespace
}  // namespace shoal::sim
