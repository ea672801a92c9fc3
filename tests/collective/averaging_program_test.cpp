#include "shoal/collective/averaging_program.h"

#include "split_support.h"

#include <algorithm>
#include <cmath>
#include <gtest/gtest.h>
#include <limits>
#include <rapidcheck/gtest.h>

#include "shoal/base/error.h"

namespace shoal::collective {
namespace {

constexpr double kNone = std::numeric_limits<double>::infinity();

AveragingProgram program_of(std::vector<SplitMember> members, Sharing sharing) {
    AveragingProgram program;
    program.members = std::move(members);
    program.sharing = sharing;
    return program;
}

/// The longest load / limit of any member or pair, by the fractions alone.
double seconds_of(const AveragingProgram& program, const AveragingRates& rates) {
    const std::size_t n = program.members.size();
    std::vector<double> up(n, 0), down(n, 0);
    double seconds = 0;
    const auto take = [&seconds](double load, double limit) {
        if (load > 1e-12) seconds = std::max(seconds, load / limit);
    };
    for (std::size_t i = 0; i < n; ++i)
        for (std::size_t j = 0; j < n; ++j) {
            const double load = rates.contribution(program.members, i, j) + rates.result(i, j);
            up[i] += load;
            down[j] += load;
            if (!program.pair_limits.empty()) take(load, program.pair_limits[i * n + j]);
        }
    for (std::size_t i = 0; i < n; ++i) {
        take(up[i], program.members[i].upload);
        take(down[i], program.members[i].download);
    }
    return seconds;
}

/// Two sites of `size` peers, the first of each its gateway. Inside nothing limits a pair. Across, each limit
/// says by whom it is used.
struct Between {
    double to_gateway, from_gateway, others;
};

AveragingProgram two_sites(std::size_t size, const Between& between, Sharing sharing) {
    AveragingProgram program;
    program.sharing = sharing;
    add_members(program.members, 2 * size, full_member(1000, 1000));
    for (std::size_t i = 0; i < 2 * size; ++i)
        for (std::size_t j = 0; j < 2 * size; ++j) {
            double limit = between.others;
            if (i / size == j / size)
                limit = kNone;
            else if (j % size == 0)
                limit = between.to_gateway;
            else if (i % size == 0)
                limit = between.from_gateway;
            program.pair_limits.push_back(limit);
        }
    return program;
}

/// Vector lengths that cross from site to site in a round.
struct Crossing {
    double contributions = 0, results = 0;
};

Crossing crossing(const AveragingProgram& program, const AveragingRates& rates, std::size_t size) {
    Crossing sum;
    for (std::size_t i = 0; i < 2 * size; ++i)
        for (std::size_t j = 0; j < 2 * size; ++j) {
            if (i / size == j / size) continue;
            sum.contributions += rates.contribution(program.members, i, j);
            sum.results += rates.result(i, j);
        }
    return sum;
}

TEST(AveragingProgram, agrees_with_the_closed_form_on_equal_peers) {
    std::vector<SplitMember> group;
    add_members(group, 5, full_member(10, 10));
    for (const Sharing sharing : {Sharing::alike, Sharing::by_receiver}) {
        const AveragingRates rates = solve(program_of(group, sharing));
        EXPECT_NEAR(rates.rate, 1 / split_shortest(group).seconds, 1e-6);
        EXPECT_NEAR(seconds_of(program_of(group, sharing), rates), 1 / rates.rate, 1e-6);
    }
    const AveragingRates rates = solve(program_of(group, Sharing::alike));
    for (const double fraction : rates.reduced) EXPECT_NEAR(fraction, 0.2, 1e-6);
}

/// A fast network inside, a slow one between, and nobody but a gateway takes anything from outside: each site
/// reduces for itself, and no result leaves it. No split that serves all alike exists at all.
TEST(AveragingProgram, sites_that_only_their_gateways_connect_average_in_two_levels) {
    const Between between{10, 0, 0};
    const AveragingProgram program = two_sites(4, between, Sharing::by_receiver);
    const AveragingRates rates = solve(program);
    EXPECT_NEAR(rates.rate, 10, 1e-5);
    EXPECT_NEAR(seconds_of(program, rates), 0.1, 1e-6);
    for (std::size_t i = 0; i < 8; ++i) EXPECT_NEAR(rates.reduced[i], i % 4 == 0 ? 1 : 0, 1e-6) << i;
    const Crossing crossed = crossing(program, rates, 4);
    EXPECT_NEAR(crossed.results, 0, 1e-6);
    EXPECT_NEAR(crossed.contributions, 8, 1e-5);
    EXPECT_EQ(solve(two_sites(4, between, Sharing::alike)).rate, 0);
}

/// The same where results can cross, slowly: nearly all of them stay within their site, and serving all alike
/// would take several times as long.
TEST(AveragingProgram, results_stay_on_the_fast_side_of_a_slow_way_back) {
    const Between between{10, 1, 0};
    const AveragingProgram program = two_sites(4, between, Sharing::by_receiver);
    const AveragingRates rates = solve(program);
    EXPECT_GT(rates.rate, 9.9);
    EXPECT_LE(seconds_of(program, rates), (1 + 1e-6) / rates.rate);
    const Crossing crossed = crossing(program, rates, 4);
    EXPECT_LT(crossed.results, 0.15 * crossed.contributions);
    EXPECT_GT(rates.reduced[0], 0.85);
    EXPECT_GT(rates.reduced[4], 0.85);
    EXPECT_LT(solve(two_sites(4, between, Sharing::alike)).rate, 0.25 * rates.rate);
}

/// Where both ways are equally slow for all, a flat all-reduce is as good: each pair across carries half
/// contributions and half results.
TEST(AveragingProgram, between_equal_links_a_flat_all_reduce_is_as_good) {
    const Between between{10, 10, 10};
    const AveragingRates flat = solve(two_sites(4, between, Sharing::alike));
    EXPECT_NEAR(flat.rate, 40, 1e-4);
    EXPECT_NEAR(solve(two_sites(4, between, Sharing::by_receiver)).rate, 40, 1e-4);
}

TEST(AveragingProgram, two_firewalled_peers_need_a_third) {
    AveragingProgram program;
    program.members = {client_member(10), client_member(10), auxiliary_member(100)};
    program.pair_limits.assign(9, kNone);
    program.pair_limits[1] = program.pair_limits[3] = 0;
    const AveragingRates rates = solve(program);
    EXPECT_NEAR(rates.rate, 10, 1e-5);
    EXPECT_NEAR(rates.reduced[2], 1, 1e-9);
    program.pair_limits[2] = 4;  // from the first to the reducer
    EXPECT_NEAR(solve(program).rate, 4, 1e-5);
}

/// Against 'exactly' in the notes (2.5.2): two fast senders without a right to reduce, a reducer whose upload
/// is short, and a receiver that cannot upload. Reducing for itself alone, that receiver spares the reducer's
/// upload a third.
TEST(AveragingProgram, a_receiver_that_reduces_for_itself_alone_can_beat_every_split) {
    std::vector<SplitMember> group = {client_member(1000), client_member(1000), auxiliary_member(1000),
                                      full_member(0, 1000)};
    group[2].upload = 6;
    group[3].sends = false;
    EXPECT_NEAR(1 / split_shortest(group).seconds, 2, 1e-9);
    EXPECT_NEAR(solve(program_of(group, Sharing::alike)).rate, 2, 1e-6);
    const AveragingRates rates = solve(program_of(group, Sharing::by_receiver));
    EXPECT_NEAR(rates.rate, 3, 1e-6);
    EXPECT_NEAR(rates.taken[3 * 4 + 3], 1, 1e-6);
}

TEST(AveragingProgram, what_nothing_limits_and_what_cannot_be_have_their_rates) {
    std::vector<SplitMember> group;
    add_members(group, 3, full_member(kNone, kNone));
    EXPECT_EQ(solve(program_of(group, Sharing::by_receiver)).rate, kNone);
    group[0].upload = 0;
    EXPECT_EQ(solve(program_of(group, Sharing::alike)).rate, 0);
}

TEST(AveragingProgram, programs_that_make_no_sense_are_errors) {
    const auto refused = [](const AveragingProgram& program) { EXPECT_THROW(solve(program), Error); };
    std::vector<SplitMember> group;
    add_members(group, 3, full_member(1, 1));
    AveragingProgram program = program_of(group, Sharing::alike);
    program.pair_limits.assign(8, 1);
    refused(program);
    program.pair_limits.assign(9, 1);
    EXPECT_GT(solve(program).rate, 0);
    program.pair_limits[1] = -1;
    refused(program);
    program.pair_limits[1] = std::nan("");
    refused(program);
    refused(program_of({}, Sharing::alike));
    refused(program_of({auxiliary_member(1)}, Sharing::alike));
    refused(program_of({client_member(1)}, Sharing::alike));
    refused(program_of({full_member(-1, 1)}, Sharing::alike));
}

TEST(AveragingProgram, takes_its_largest_size_and_no_more) {
    std::vector<SplitMember> group;
    add_members(group, kMaximumProgramMembers, full_member(10, 20));
    AveragingProgram program = program_of(group, Sharing::alike);
    program.pair_limits.assign(group.size() * group.size(), 1);
    EXPECT_NEAR(solve(program).rate, 1 / split_shortest(group).seconds, 1e-6);
    group.push_back(group[0]);
    EXPECT_THROW(solve(program_of(group, Sharing::alike)), Error);
}

TEST(AveragingProgram, relaxed_roles_leave_out_the_slow_upload_that_all_would_wait_for) {
    std::vector<Worker> workers(5);
    for (Worker& worker : workers) {
        worker.speed = 10;
        worker.member = full_member(100, 100);
    }
    workers[4].member.upload = 1;
    RoleProblem problem;
    problem.vector_length = 100;
    problem.target_batch = 80;
    const ProgramRoleChoice choice = choose_roles(workers, {}, Sharing::alike, problem);
    EXPECT_EQ(choice.computes, (std::vector<bool>{true, true, true, true, false}));
    EXPECT_NEAR(choice.steps_per_second, choose_roles(workers, problem).steps_per_second, 1e-6);
    EXPECT_GE(choice.bound, choice.steps_per_second * (1 - 1e-6));
    // A link can do what an upload did.
    workers[4].member.upload = 100;
    std::vector<double> links(25, 100);
    for (std::size_t j = 0; j < 4; ++j) links[4 * 5 + j] = 0.1;
    EXPECT_FALSE(choose_roles(workers, links, Sharing::alike, problem).computes[4]);
}

RC_GTEST_PROP(AveragingProgram, relaxed_roles_bound_the_best_choice, (std::uint64_t seed)) {
    Random random(seed);
    const std::size_t members = 2 + random.below(4);
    std::vector<Worker> workers(members);
    for (Worker& worker : workers) {
        worker.member = full_member(1 + 100 * random.uniform(), 1 + 100 * random.uniform());
        worker.member.reduces = random.below(4) != 0;
        worker.speed = random.uniform() + 0.01;
    }
    workers[0].member.reduces = true;
    RoleProblem problem;
    problem.vector_length = 100;
    problem.target_batch = 0.1 + 5 * random.uniform();
    const ProgramRoleChoice choice = choose_roles(workers, {}, Sharing::alike, problem);
    const double best = choose_roles(workers, problem).steps_per_second;
    RC_ASSERT(choice.steps_per_second <= best * (1 + 1e-6));
    RC_ASSERT(choice.bound >= best * (1 - 1e-6));
}

/// 100 times 40 instances: roles of all kinds, limits of 0 where they may be, scales from 1e-9 to 1e5.
RC_GTEST_PROP(AveragingProgram, holds_the_closed_form_to_the_solver, (std::uint64_t seed)) {
    Random random(seed);
    for (int i = 0; i < 40; ++i) {
        const std::vector<SplitMember> group =
            random_group(random, 1 + random.below(10), random_scale(random));
        const WorkSplit split = split_shortest(group);
        const AveragingProgram program = program_of(group, Sharing::alike);
        const AveragingRates rates = solve(program);
        if (split.seconds == 0) {
            RC_ASSERT(rates.rate == kNone);
            continue;
        }
        RC_ASSERT(std::abs(rates.rate * split.seconds - 1) < 1e-6);
        RC_ASSERT(seconds_of(program, rates) <= split.seconds * (1 + 1e-6));
    }
}

/// More freedom is never slower, and what it costs by the fractions is what the program says.
RC_GTEST_PROP(AveragingProgram, by_receiver_is_never_slower_than_a_split, (std::uint64_t seed)) {
    Random random(seed);
    for (int i = 0; i < 10; ++i) {
        const std::vector<SplitMember> group =
            random_group(random, 1 + random.below(8), random_scale(random));
        const WorkSplit split = split_shortest(group);
        const AveragingProgram program = program_of(group, Sharing::by_receiver);
        const AveragingRates rates = solve(program);
        RC_ASSERT(rates.rate * split.seconds >= 1 - 1e-6 || split.seconds == 0);
        if (std::isfinite(rates.rate)) RC_ASSERT(seconds_of(program, rates) * rates.rate <= 1 + 1e-6);
    }
}

}  // namespace
}  // namespace shoal::collective
