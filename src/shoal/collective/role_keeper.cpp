#include "shoal/collective/role_keeper.h"

#include <algorithm>
#include <vector>

namespace shoal::collective {
namespace {

/// Of so few every choice is tried: 64 splits, less than a millisecond.
constexpr std::size_t kExhaustive = 6;

/// A speed counts as far as what it has brought bears it out.
std::vector<Worker> make_workers(const Verdict& verdict, std::span<const double> speeds,
                                 double batch_seconds) {
    std::vector<Worker> workers;
    for (std::size_t i = 0; i < verdict.contributors.size(); ++i) {
        Worker worker;
        worker.member = verdict.lines[i];
        const double brought = verdict.contributors[i].weight / batch_seconds;
        worker.speed = speeds[i] > 0 ? std::min(speeds[i], brought) : brought;
        workers.push_back(worker);
    }
    return workers;
}

}  // namespace

void RoleKeeper::resume() {
    rests_ = false;
    steps_ = 0;
}

void RoleKeeper::step_taken(const Verdict& verdict, std::span<const double> speeds, double own_speed,
                            double batch_seconds, double step_seconds) {
    if (verdict.lines.empty() || !(own_speed > 0) || !(batch_seconds > 0)) return;
    const auto is_self = [this](const Contributor& c) { return c.peer == self_; };
    const auto found = std::find_if(verdict.contributors.begin(), verdict.contributors.end(), is_self);
    if (found == verdict.contributors.end()) return;
    const auto own = static_cast<std::size_t>(found - verdict.contributors.begin());
    std::vector<Worker> workers = make_workers(verdict, speeds, batch_seconds);
    workers[own].speed = own_speed;
    RoleProblem problem;
    problem.vector_length = verdict.vector_bytes;
    problem.target_batch = target_batch_;
    problem.overlap = overlap_;
    problem.exhaustive_up_to = kExhaustive;
    if (rests_) {
        if (++steps_ % kStepsOfRest == 0 && gains_by_returning(workers, problem, own)) resume();
        return;
    }
    steps_ = gains_by_resting(workers, problem, own) ? steps_ + 1 : 0;
    if (steps_ < kStepsUntilResting) return;
    rests_ = true;
    steps_ = 0;
    seconds_at_rest_ = step_seconds;
}

bool RoleKeeper::gains_by_resting(std::span<const Worker> workers, const RoleProblem& problem,
                                  std::size_t own) const {
    if (!workers[own].member.sends) return false;
    const RoleChoice best = choose_roles(workers, problem);
    return !best.computes[own] && best.steps_per_second > kGainOfResting * pace_of(workers, problem);
}

bool RoleKeeper::gains_by_returning(std::span<const Worker> workers, const RoleProblem& problem,
                                    std::size_t own) const {
    std::vector<Worker> with(workers.begin(), workers.end()), without = with;
    with[own].member.sends = true;
    without[own].member.sends = false;
    return pace_of(with, problem) > kGainOfReturning * pace_of(without, problem);
}

}  // namespace shoal::collective
