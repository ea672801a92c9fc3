// How fast a member sends to each other one, so that no queue grows before a line.
#include <gtest/gtest.h>

#include "shoal/collective/round_plan.h"

namespace shoal::collective {
namespace {

constexpr std::size_t kElements = 1000;

/// Members with shares in these proportions (of kElements) and lines of these rates both ways.
RoundPlan plan_of(const std::vector<std::size_t>& shares, const std::vector<double>& rates) {
    RoundPlan plan;
    plan.elements = kElements;
    std::size_t begin = 0;
    for (std::size_t i = 0; i < shares.size(); ++i) {
        plan.members.emplace_back();
        plan.shares.push_back({begin, begin + shares[i]});
        begin += shares[i];
        SplitMember line;
        line.upload = line.download = rates[i];
        plan.lines.push_back(line);
    }
    return plan;
}

TEST(SendingRate, of_equal_members_divides_the_line_equally) {
    const RoundPlan plan = plan_of({250, 250, 250, 250}, {900, 900, 900, 900});
    for (std::size_t to = 1; to < 4; ++to) EXPECT_DOUBLE_EQ(plan.sending_rate(to), 300);
    EXPECT_EQ(plan.sending_rate(0), 0) << "nothing goes to oneself";
}

TEST(SendingRate, fills_no_line_of_those_that_receive) {
    const std::vector<double> rates = {1000, 500, 250, 250};
    RoundPlan plan = plan_of({500, 250, 125, 125}, rates);
    std::vector<double> received(rates.size());
    for (plan.self = 0; plan.self < rates.size(); ++plan.self) {
        double sent = 0;
        for (std::size_t to = 0; to < rates.size(); ++to) {
            sent += plan.sending_rate(to);
            received[to] += plan.sending_rate(to);
        }
        EXPECT_LE(sent, rates[plan.self] * (1 + 1e-9));
    }
    for (std::size_t to = 0; to < rates.size(); ++to) EXPECT_LE(received[to], rates[to] * (1 + 1e-9));
}

TEST(SendingRate, to_one_that_says_it_is_slow_slows_nothing_else) {
    const RoundPlan honest = plan_of({400, 400, 200}, {1000, 1000, 1000});
    const RoundPlan one_slow = plan_of({400, 400, 200}, {1000, 1000, 1});
    EXPECT_LT(one_slow.sending_rate(2), 1);
    EXPECT_DOUBLE_EQ(one_slow.sending_rate(1), honest.sending_rate(1));
}

TEST(SendingRate, is_unlimited_where_nobody_knows_a_line) {
    EXPECT_EQ(plan_of({500, 500}, {0, 0}).sending_rate(1), 0);
}

TEST(SendingRate, to_a_client_is_that_of_its_results_alone) {
    RoundPlan plan = plan_of({1000, 0}, {1000, 100});
    plan.lines[1].reduces = false;
    EXPECT_DOUBLE_EQ(plan.sending_rate(1), 100);
    plan.self = 1;
    EXPECT_DOUBLE_EQ(plan.sending_rate(0), 100);
}

}  // namespace
}  // namespace shoal::collective
