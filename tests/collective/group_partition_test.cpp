// Which peers average with which in a step, and how many groups there are.
#include "shoal/collective/group_partition.h"

#include <cmath>
#include <gtest/gtest.h>
#include <limits>
#include <map>
#include <vector>

#include "shoal/base/random.h"

namespace shoal::collective {
namespace {

PeerId peer(std::uint64_t number) {
    Random random(number * 2654435761U + 17);
    Digest digest;
    for (auto& byte : digest.bytes) byte = static_cast<std::uint8_t>(random.next());
    return PeerId(digest);
}

TEST(GroupPartition, APeerIsInOneOfTheGroups) {
    for (std::uint64_t p = 0; p < 200; ++p)
        for (const std::uint32_t groups : {1U, 2U, 64U, kMostGroups})
            EXPECT_LT(group_of(peer(p), static_cast<Step>(p), groups), groups);
}

TEST(GroupPartition, OneGroupOfFewerIsTwoOfMore) {
    for (std::uint64_t p = 0; p < 200; ++p) {
        const auto fine = group_of(peer(p), Step{7}, 64), coarse = group_of(peer(p), Step{7}, 32);
        EXPECT_EQ(fine % 32, coarse);
    }
}

TEST(GroupPartition, WhoMeetsInOneStepMeetsByChanceInTheNext) {
    constexpr std::uint64_t kPeers = 512;
    constexpr std::uint32_t kGroups = 32;
    int together = 0, again = 0;
    for (std::uint64_t a = 0; a < kPeers; ++a)
        for (std::uint64_t b = 0; b < a; ++b) {
            if (group_of(peer(a), Step{3}, kGroups) != group_of(peer(b), Step{3}, kGroups)) continue;
            ++together;
            again += group_of(peer(a), Step{4}, kGroups) == group_of(peer(b), Step{4}, kGroups) ? 1 : 0;
        }
    const double share = static_cast<double>(again) / together;
    EXPECT_NEAR(share, 1.0 / kGroups, 4 * std::sqrt(1.0 / kGroups / together));
}

TEST(GroupPartition, TheNumberOfGroupsIsAPowerOfTwoNearWhatSuits) {
    EXPECT_EQ(number_of_groups(1, 16, 0), 1U);
    EXPECT_EQ(number_of_groups(16, 16, 0), 1U);
    EXPECT_EQ(number_of_groups(40, 16, 0), 2U);
    EXPECT_EQ(number_of_groups(512, 16, 0), 32U);
    EXPECT_EQ(number_of_groups(4096, 16, 0), 256U);
}

TEST(GroupPartition, TheNumberOfGroupsStaysUntilTheSizeIsClearlyAnother) {
    EXPECT_EQ(number_of_groups(512 * 1.69, 16, 32), 32U);
    EXPECT_EQ(number_of_groups(512 * 1.71, 16, 32), 64U);
    EXPECT_EQ(number_of_groups(512 / 1.69, 16, 32), 32U);
    EXPECT_EQ(number_of_groups(512 / 1.71, 16, 32), 16U);
}

TEST(GroupPartition, NoSizeOfTheSwarmMakesAbsurdGroups) {
    for (const double size : {1e300, std::numeric_limits<double>::infinity(),
                              std::numeric_limits<double>::quiet_NaN(), -5.0, 0.0}) {
        const auto groups = number_of_groups(size, 16, 0);
        EXPECT_GE(groups, 1U);
        EXPECT_LE(groups, kMostGroups);
    }
    EXPECT_EQ(number_of_groups(kLargestSwarm, 2, 0), kMostGroups);
}

TEST(GroupPartition, AFewAbsurdClaimsMoveNoEstimate) {
    std::vector<double> claims(15, 512.0);
    for (int i = 0; i < 7; ++i) claims[static_cast<std::size_t>(i)] = 1e300;
    EXPECT_DOUBLE_EQ(next_size_estimate(512, claims, 16, 32), 512.0);
    for (int i = 0; i < 7; ++i) claims[static_cast<std::size_t>(i)] = 1;
    EXPECT_DOUBLE_EQ(next_size_estimate(512, claims, 16, 32), 512.0);
}

TEST(GroupPartition, TheEstimateComesToTheTruthFromFarAway) {
    for (const double start : {1.0, 1e7}) {
        double estimate = start;
        const std::uint32_t groups = 32;
        for (int step = 0; step < 200; ++step) {
            const std::vector<double> claims(15, estimate);
            estimate = next_size_estimate(estimate, claims, 16, groups);
        }
        EXPECT_NEAR(estimate, 512, 1);
    }
}

TEST(GroupPartition, TheCensusCountsTheSwarm) {
    constexpr std::uint64_t kPeers = 4096;
    std::map<unsigned, std::size_t> levels;
    for (std::uint64_t p = 0; p < kPeers; ++p) ++levels[census_level(peer(p))];
    std::size_t seen = 0;
    unsigned level = kCensusLevels;
    while (level > 0 && seen < 256) seen += levels[--level];
    EXPECT_NEAR(size_by_census(seen, level), kPeers, 4 * kPeers / 16.0);  // four standard deviations
}

/// The share of the variance that one round leaves, of values that have nothing to do with the partition.
double left_after_a_round(std::uint64_t seed, std::size_t peers, std::uint32_t groups, double failing) {
    Random random(seed);
    std::map<std::uint32_t, std::vector<double>> members;
    std::vector<double> before;
    for (std::size_t p = 0; p < peers; ++p) {
        const double value = random.normal();
        if (random.uniform() < failing) continue;
        members[group_of(peer(seed * peers + p), static_cast<Step>(seed), groups)].push_back(value);
        before.push_back(value);
    }
    double mean = 0, variance = 0, after = 0;
    for (const double value : before) mean += value / static_cast<double>(before.size());
    for (const double value : before) variance += (value - mean) * (value - mean);
    for (const auto& [group, values] : members) {
        double sum = 0;
        for (const double value : values) sum += value;
        const double apart = sum / static_cast<double>(values.size()) - mean;
        after += apart * apart * static_cast<double>(values.size());
    }
    return after / variance;
}

TEST(GroupPartition, ARoundLeavesTheVarianceThatTheFormulaSays) {
    constexpr std::size_t kPeers = 512, kRounds = 400;
    constexpr std::uint32_t kGroups = 32;
    for (const double failing : {0.0, 0.1}) {
        double sum = 0, squares = 0;
        for (std::uint64_t seed = 1; seed <= kRounds; ++seed) {
            const double left = left_after_a_round(seed, kPeers, kGroups, failing);
            sum += left;
            squares += left * left;
        }
        const double mean = sum / kRounds;
        const double deviation = std::sqrt((squares / kRounds - mean * mean) / kRounds);
        const double alive = (1 - failing) * kPeers;
        EXPECT_NEAR(mean, (kGroups - 1) / (alive - 1), 4 * deviation) << "failing: " << failing;
    }
}

}  // namespace
}  // namespace shoal::collective
