#include "shoal/collective/role_choice.h"

#include "split_support.h"

#include <algorithm>
#include <gtest/gtest.h>
#include <limits>
#include <rapidcheck/gtest.h>

#include "shoal/base/error.h"

namespace shoal::collective {
namespace {

Worker worker(double speed, const SplitMember& member) {
    Worker w;
    w.speed = speed;
    w.member = member;
    return w;
}

RoleProblem problem_of(double length, double batch, Overlap overlap) {
    RoleProblem problem;
    problem.vector_length = length;
    problem.target_batch = batch;
    problem.overlap = overlap;
    return problem;
}

std::ptrdiff_t computing(const RoleChoice& choice) {
    return std::count(choice.computes.begin(), choice.computes.end(), true);
}

TEST(RoleChoice, a_slow_upload_that_all_would_wait_for_computes_nothing) {
    std::vector<Worker> workers(7, worker(10, full_member(100, 100)));
    workers.push_back(worker(10, full_member(1, 100)));
    const RoleChoice choice = choose_roles(workers, problem_of(100, 140, Overlap::delayed));
    EXPECT_FALSE(choice.computes[7]);
    EXPECT_EQ(computing(choice), 7);
    // It still takes the result, and the others need two seconds for a round.
    EXPECT_GT(choice.steps_per_second, 0.45);
    // With it, a round takes the 100 s of its upload.
    std::vector<SplitMember> all;
    for (const Worker& w : workers) all.push_back(w.member);
    EXPECT_NEAR(100 * split_shortest(all).seconds, 100, 1e-6);
}

TEST(RoleChoice, where_computing_takes_longest_everybody_computes) {
    std::vector<Worker> workers(7, worker(10, full_member(100, 100)));
    workers.push_back(worker(10, full_member(1, 100)));
    const RoleChoice choice = choose_roles(workers, problem_of(100, 80 * 200, Overlap::delayed));
    EXPECT_EQ(computing(choice), 8);
    EXPECT_NEAR(choice.steps_per_second, 1.0 / 200, 1e-12);
}

TEST(RoleChoice, without_overlap_both_times_add_up) {
    const std::vector<Worker> workers(4, worker(10, full_member(100, 100)));
    // 1.5 s to average (2 * 3/4 of the vector each way), 2 s to compute.
    EXPECT_NEAR(choose_roles(workers, problem_of(100, 80, Overlap::none)).steps_per_second, 1 / 3.5, 1e-9);
    EXPECT_NEAR(choose_roles(workers, problem_of(100, 80, Overlap::delayed)).steps_per_second, 1 / 2.0, 1e-9);
}

TEST(RoleChoice, the_overlap_can_decide_who_computes) {
    // Together: 10 s computing, 10 s averaging. Without the slow one: 20 s computing, 1 s averaging.
    std::vector<Worker> workers = {worker(1, full_member(100, 100)), worker(1, full_member(10, 100))};
    workers[1].member.reduces = false;
    const RoleProblem delayed = problem_of(100, 20, Overlap::delayed);
    EXPECT_EQ(computing(choose_roles(workers, delayed)), 2);
    // Without overlap 20 s against 21 s; a line of half the speed turns it.
    EXPECT_EQ(computing(choose_roles(workers, problem_of(100, 20, Overlap::none))), 2);
    workers[1].member.upload = 5;
    EXPECT_EQ(computing(choose_roles(workers, problem_of(100, 20, Overlap::none))), 1);
    EXPECT_EQ(computing(choose_roles(workers, delayed)), 2);
}

TEST(RoleChoice, who_cannot_send_or_has_no_speed_is_no_candidate) {
    std::vector<Worker> workers(3, worker(10, full_member(100, 100)));
    workers.push_back(worker(10, auxiliary_member(100)));
    workers.push_back(worker(0, full_member(100, 100)));
    const RoleChoice choice = choose_roles(workers, problem_of(100, 1e6, Overlap::delayed));
    EXPECT_EQ(choice.computes, (std::vector<bool>{true, true, true, false, false}));
    EXPECT_THROW(choose_roles(std::vector<Worker>(2, workers[3]), problem_of(1, 1, Overlap::delayed)), Error);
}

TEST(RoleChoice, numbers_that_make_no_sense_are_errors) {
    const std::vector<Worker> workers(2, worker(1, full_member(1, 1)));
    EXPECT_THROW(choose_roles(workers, problem_of(0, 1, Overlap::delayed)), Error);
    EXPECT_THROW(choose_roles(workers, problem_of(1, 0, Overlap::delayed)), Error);
    EXPECT_THROW(choose_roles(workers, problem_of(1, std::nan(""), Overlap::delayed)), Error);
    EXPECT_THROW(choose_roles(std::vector<Worker>(2, worker(-1, full_member(1, 1))),
                              problem_of(1, 1, Overlap::delayed)),
                 Error);
    RoleProblem problem = problem_of(1, 1, Overlap::delayed);
    problem.exhaustive_up_to = kExhaustiveWorkers + 1;
    EXPECT_THROW(choose_roles(workers, problem), Error);
}

TEST(RoleChoice, twelve_are_tried_exhaustively_and_thirteen_in_order) {
    // The line of the fast computer is slower: dropping in order of the lines drops the wrong one.
    std::vector<Worker> workers(kExhaustiveWorkers - 2, worker(1, full_member(100, 100)));
    workers.push_back(worker(100, full_member(8, 100)));
    workers.push_back(worker(0.1, full_member(9, 100)));
    const RoleProblem problem = problem_of(100, 1e4, Overlap::none);
    const RoleChoice best = choose_roles(workers, problem);
    RoleProblem in_order = problem;
    in_order.exhaustive_up_to = 0;
    EXPECT_GE(best.steps_per_second, choose_roles(workers, in_order).steps_per_second * (1 - 1e-9));
    workers.push_back(worker(1, full_member(100, 100)));
    EXPECT_EQ(choose_roles(workers, problem).steps_per_second,
              choose_roles(workers, in_order).steps_per_second);
}

RC_GTEST_PROP(RoleChoice, dropping_in_order_is_exact_where_faster_lines_have_faster_computers,
              (std::uint64_t seed)) {
    Random random(seed);
    const std::size_t members = 2 + random.below(6);
    std::vector<double> lines(members), speeds(members);
    for (double& line : lines) line = 1 + 100 * random.uniform();
    for (double& speed : speeds) speed = 1 + 10 * random.uniform();
    std::sort(lines.begin(), lines.end());
    std::sort(speeds.begin(), speeds.end());
    std::vector<Worker> workers;
    for (std::size_t i = 0; i < members; ++i)
        workers.push_back(worker(speeds[i], full_member(lines[i], 200)));
    RoleProblem problem = problem_of(100, 100 * random.uniform() + 0.1, Overlap::delayed);
    const RoleChoice best = choose_roles(workers, problem);
    problem.exhaustive_up_to = 0;
    const RoleChoice in_order = choose_roles(workers, problem);
    RC_ASSERT(best.steps_per_second >= in_order.steps_per_second * (1 - 1e-8));
    RC_ASSERT(best.steps_per_second <= in_order.steps_per_second * (1 + 1e-8));
}

}  // namespace
}  // namespace shoal::collective
