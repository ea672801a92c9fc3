// Whether this peer computes, or only takes results: the choice of role_choice.h, made anew from what rounds
// show.
//
// A peer whose upload everybody waits for can cost the swarm more steps than its samples are worth. Each peer
// judges itself, from the lines that the round's plan reckoned with and the speeds that the round's weights
// bear out; all hold the same numbers (but for their own speed), so they come to the same choice without
// asking. One that rests sends no contribution; it goes on receiving and, if it may, reducing.
//
// What others say moves only this: whoever claims a speed must have brought the samples, so a liar makes
// others rest only with a weight that it has in the average anyway. And if the swarm gets slower than it was
// when this peer began to rest, it computes again.
#pragma once

#include <cstdint>
#include <span>

#include "shoal/collective/averager.h"
#include "shoal/collective/role_choice.h"

namespace shoal::collective {

/// A choice must promise so much more pace, so many steps in a row, before this peer rests.
inline constexpr double kGainOfResting = 1.1;
inline constexpr int kStepsUntilResting = 3;
/// Who rests looks after so many steps whether the swarm would be faster with it, by so much at least.
inline constexpr int kStepsOfRest = 10;
inline constexpr double kGainOfReturning = 1.05;

class RoleKeeper {
  public:
    /// @param target_batch  samples of a step
    RoleKeeper(const PeerId& self, double target_batch, Overlap overlap)
        : self_(self), target_batch_(target_batch), overlap_(overlap) {}

    /// A step has been taken. Changes nothing if the verdict knows no lines, or this peer is no member.
    /// @param speeds         samples per second that each contributor of the verdict says it computes
    /// @param own_speed      of this peer while it computes; 0: unknown yet
    /// @param batch_seconds  that the contributions took to compute
    /// @param step_seconds   from one step to the next
    void step_taken(const Verdict& verdict, std::span<const double> speeds, double own_speed,
                    double batch_seconds, double step_seconds);

    /// This peer should not compute.
    bool rests() const { return rests_; }
    /// Seconds from one step to the next after which a peer that rests should help: twice what one took when
    /// it began to rest.
    double longest_step() const { return 2 * seconds_at_rest_; }
    /// It computes again, and counts from the beginning.
    void resume();

  private:
    bool gains_by_resting(std::span<const Worker> workers, const RoleProblem& problem, std::size_t own) const;
    bool gains_by_returning(std::span<const Worker> workers, const RoleProblem& problem,
                            std::size_t own) const;

    const PeerId self_;
    const double target_batch_;
    const Overlap overlap_;
    bool rests_ = false;
    int steps_ = 0;               ///< in a row that speak for resting; or of rest
    double seconds_at_rest_ = 0;  ///< of a step, when this peer began to rest
};

}  // namespace shoal::collective
