#include <cmath>
#include <gtest/gtest.h>
#include <numeric>
#include <rapidcheck/gtest.h>

#include "shoal/base/error.h"
#include "shoal/base/random.h"
#include "shoal/collective/work_split.h"

namespace shoal::collective {
namespace {

constexpr double kUnknown = -1;  // in the tables below; 0 means client mode there, as in hivemind

std::vector<SplitMember> members(const std::vector<double>& bandwidths) {
    std::vector<SplitMember> out;
    for (const double bandwidth : bandwidths) {
        SplitMember member;
        member.reduces = bandwidth != 0;
        member.bandwidth = bandwidth == kUnknown ? 0 : bandwidth;
        out.push_back(member);
    }
    return out;
}

SplitMember auxiliary(double bandwidth) {
    SplitMember member;
    member.contributes = false;
    member.bandwidth = bandwidth;
    return member;
}

struct Row {
    std::size_t elements;
    std::vector<double> bandwidths;
    std::size_t minimum;
    std::vector<std::size_t> parts;
    bool unique;
};

/// hivemind's cost: max (V + (n - 2) p) / b.
double cost(const Row& row, const std::vector<std::size_t>& parts) {
    double worst = 0;
    for (std::size_t i = 0; i < parts.size(); ++i) {
        if (row.bandwidths[i] == 0) continue;
        const double load = static_cast<double>(row.elements) +
                            static_cast<double>(parts.size() - 2) * static_cast<double>(parts[i]);
        worst = std::max(worst, load / row.bandwidths[i]);
    }
    return worst;
}

TEST(AveragerSplit, gives_the_parts_of_hivemind) {
    const std::vector<Row> rows = {
        {60, {.25, .25, .25, .25}, 0, {15, 15, 15, 15}, true},
        {1024, {.3, .5, .9}, 0, {0, 255, 769}, false},
        {60, {.44, .33, .22}, 0, {42, 18, 0}, false},
        {60, {.55, .44, .40}, 0, {35, 16, 9}, true},
        {1 << 20, {.3, .5, .9, .6}, 0, {0, 169327, 602629, 276620}, false},
        {1 << 20, {0, .5, 0, .6}, 0, {0, 428963, 0, 619613}, true},
        {60, {.55, .44, .40}, 10, {41, 19, 0}, true},
        {60, {.32, .55, .44}, 10, {0, 40, 20}, true},
        {2, {.55, .2, .44}, 10, {1, 0, 1}, true},
        {1, {.55, .2, .44}, 10, {1, 0, 0}, true},
        {100, {kUnknown, kUnknown}, 0, {50, 50}, true},
        {100, {kUnknown, kUnknown, kUnknown, kUnknown, kUnknown}, 0, {20, 20, 20, 20, 20}, true},
        {100, {0, 0, 0, kUnknown, kUnknown}, 0, {0, 0, 0, 50, 50}, true},
    };
    for (const Row& row : rows) {
        const std::vector<std::size_t> parts = split_work(row.elements, members(row.bandwidths), row.minimum);
        EXPECT_EQ(std::accumulate(parts.begin(), parts.end(), std::size_t{0}), row.elements);
        if (row.unique) {
            EXPECT_EQ(parts, row.parts);
        } else {
            EXPECT_LE(cost(row, parts), cost(row, row.parts) * (1 + 1e-9));
        }
    }
}

TEST(AveragerSplit, reaches_the_optimal_cost) {
    const std::vector<std::pair<std::vector<double>, double>> rows = {
        {{.25, .25, .25, .25}, 6.0}, {{.3, .5, .9}, 3.3333},     {{.44, .33, .22}, 4.5455},
        {{.55, .44, .40}, 2.8777},   {{.3, .5, .9, .6}, 3.3333}, {{0, .5, 0, .6}, 3.6364},
    };
    for (const auto& [bandwidths, best] : rows) {
        const std::vector<SplitMember> group = members(bandwidths);
        EXPECT_NEAR(split_cost(split_fractions(group), group), best, 1e-4);
    }
}

TEST(AveragerSplit, nobody_who_can_reduce_is_an_error) {
    EXPECT_THROW(split_work(100, members({0, 0, 0}), 0), Error);
    EXPECT_THROW(split_work(100, members({1, std::nan("")}), 0), Error);
}

TEST(AveragerSplit, special_cases_fall_out) {
    // Equal peers: all-reduce.
    for (const double w : split_fractions(members({7, 7, 7, 7, 7}))) EXPECT_NEAR(w, 0.2, 1e-9);
    // One peer with n - 1 times the bandwidth of the others: a parameter server.
    const std::vector<double> server = split_fractions(members({7, 1, 1, 1, 1, 1, 1, 1}));
    EXPECT_NEAR(server[0], 1, 1e-9);
    // Fast auxiliary peers take most of the work.
    std::vector<SplitMember> group = members({1, 1, 1, 1});
    group.push_back(auxiliary(100));
    EXPECT_GT(split_fractions(group)[4], 0.9);
    // All contributors are clients: the auxiliary peers share everything.
    std::vector<SplitMember> clients = members({0, 0, 0});
    clients.push_back(auxiliary(1));
    clients.push_back(auxiliary(3));
    const std::vector<double> shared = split_fractions(clients);
    EXPECT_NEAR(shared[3], 0.25, 1e-9);
    EXPECT_NEAR(shared[4], 0.75, 1e-9);
}

TEST(AveragerSplit, weights_of_the_notes_come_out) {
    // HETERO: 4 x 200, 8 x 100, 4 x 50 (Mbit/s): 0.15, 0.05, 0.
    std::vector<double> bandwidths(4, 200);
    bandwidths.insert(bandwidths.end(), 8, 100);
    bandwidths.insert(bandwidths.end(), 4, 50);
    const std::vector<double> fractions = split_fractions(members(bandwidths));
    EXPECT_NEAR(fractions[0], 0.15, 1e-6);
    EXPECT_NEAR(fractions[5], 0.05, 1e-6);
    EXPECT_NEAR(fractions[15], 0, 1e-6);
}

RC_GTEST_PROP(AveragerSplit, parts_add_up_and_none_is_negative, (std::uint64_t seed)) {
    Random random(seed);
    const std::size_t elements = 1 + random.below((1u << 30) - 1);
    const double scale = std::pow(10.0, -9 + 14 * random.uniform());
    std::vector<double> bandwidths(1 + random.below(255));
    for (double& bandwidth : bandwidths) bandwidth = random.uniform() * scale + 1e-6;
    const std::size_t minimum = random.below(2) == 0 ? 0 : random.below(elements / 10 + 1);
    const std::vector<std::size_t> parts = split_work(elements, members(bandwidths), minimum);
    RC_ASSERT(parts.size() == bandwidths.size());
    std::size_t sum = 0;
    for (const std::size_t part : parts) {
        RC_ASSERT(part <= elements);
        sum += part;
    }
    RC_ASSERT(sum == elements);
}

}  // namespace
}  // namespace shoal::collective
