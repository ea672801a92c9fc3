#include "shoal/collective/role_choice.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "shoal/base/error.h"

namespace shoal::collective {
namespace {

double pace(const WorkSplit& split, double speed, const RoleProblem& problem) {
    const double averaged = 1 / (problem.vector_length * split.seconds);
    return combined_pace(speed / problem.target_batch, averaged, problem.overlap);
}

class Search {
  public:
    Search(std::span<const Worker> workers, const RoleProblem& problem)
        : workers_(workers), problem_(problem) {
        std::vector<SplitMember> members;
        for (const Worker& worker : workers) members.push_back(worker.member);
        members_ = with_known_limits(members);
        for (std::size_t i = 0; i < workers.size(); ++i)
            if (members_[i].sends && workers[i].speed > 0) candidates_.push_back(i);
        for (SplitMember& member : members_) member.sends = false;
        std::stable_sort(candidates_.begin(), candidates_.end(),
                         [this](std::size_t a, std::size_t b) { return slower_way(a) < slower_way(b); });
    }

    RoleChoice all_subsets() {
        for (unsigned long subset = 1; subset < 1ul << candidates_.size(); ++subset)
            consider([subset](std::size_t k) { return (subset >> k & 1) != 0; });
        return std::move(best_);
    }

    RoleChoice without_the_slowest() {
        for (std::size_t dropped = 0; dropped < candidates_.size(); ++dropped)
            consider([dropped](std::size_t k) { return k >= dropped; });
        return std::move(best_);
    }

    std::size_t candidates() const { return candidates_.size(); }

  private:
    double slower_way(std::size_t i) const { return std::min(members_[i].upload, members_[i].download); }

    /// @param takes  says of the k-th candidate whether it computes.
    template <typename Takes>
    void consider(const Takes& takes) {
        std::vector<SplitMember> members = members_;
        double speed = 0;
        for (std::size_t k = 0; k < candidates_.size(); ++k) {
            if (!takes(k)) continue;
            members[candidates_[k]].sends = true;
            speed += workers_[candidates_[k]].speed;
        }
        WorkSplit split = split_shortest(members);
        const double steps = pace(split, speed, problem_);
        // The last bits of a bisection must not decide.
        const double margin = 1e-9 * best_.steps_per_second;
        if (steps < best_.steps_per_second - margin) return;
        if (steps <= best_.steps_per_second + margin && speed <= best_speed_) return;
        best_.steps_per_second = steps;
        best_speed_ = speed;
        best_.split = std::move(split);
        best_.computes.assign(workers_.size(), false);
        for (std::size_t i = 0; i < members.size(); ++i) best_.computes[i] = members[i].sends;
    }

    const std::span<const Worker> workers_;
    const RoleProblem problem_;
    std::vector<SplitMember> members_;     // none sends
    std::vector<std::size_t> candidates_;  // the slowest line first
    RoleChoice best_;
    double best_speed_ = 0;
};

}  // namespace

double combined_pace(double computed, double averaged, Overlap overlap) {
    if (overlap == Overlap::delayed) return std::min(computed, averaged);
    return 1 / (1 / computed + 1 / averaged);
}

void check_role_problem(std::span<const Worker> workers, const RoleProblem& problem) {
    const auto refuse = [](const char* what) { throw Error(ErrorKind::invalid_argument, what); };
    if (!std::isfinite(problem.vector_length) || problem.vector_length <= 0)
        refuse("the length of a vector must be positive");
    if (!std::isfinite(problem.target_batch) || problem.target_batch <= 0) refuse("a batch must be positive");
    if (problem.exhaustive_up_to > kExhaustiveWorkers) refuse("so many workers cannot be tried exhaustively");
    bool somebody = false;
    for (const Worker& worker : workers) {
        if (!std::isfinite(worker.speed) || worker.speed < 0) refuse("a speed must be at least 0");
        somebody = somebody || (worker.member.sends && worker.speed > 0);
    }
    if (!somebody) refuse("nobody in the group can compute");
}

double pace_of(std::span<const Worker> workers, const RoleProblem& problem) {
    std::vector<SplitMember> members;
    double speed = 0;
    for (const Worker& worker : workers) {
        members.push_back(worker.member);
        if (worker.member.sends) speed += worker.speed;
    }
    if (!(speed > 0)) return 0;
    return pace(split_shortest(with_known_limits(members)), speed, problem);
}

RoleChoice choose_roles(std::span<const Worker> workers, const RoleProblem& problem) {
    check_role_problem(workers, problem);
    Search search(workers, problem);
    if (search.candidates() <= problem.exhaustive_up_to) return search.all_subsets();
    return search.without_the_slowest();
}

}  // namespace shoal::collective
