// Which peers should compute gradients at all. A slow upload that everybody waits for can cost more steps
// than its owner's samples are worth; such a peer better only takes results, and reduces if it may. Source:
// DeDLOC, notes 2.4 (objective) and 2.5.2 (role selection).
//
// Up to kExhaustiveWorkers candidates every choice is tried. Beyond, the candidates are ordered by the slower
// of their two limits and the k slowest are dropped, for every k: exact with delayed updates as long as the
// faster line never belongs to the slower computer of two. Cost: one split (work_split.h) a choice; 12
// candidates among 12 members 4096 splits, about 20 ms; 256 candidates 257 splits, about 40 ms.
//
// Pure functions, for any thread.
#pragma once

#include <span>
#include <vector>

#include "shoal/collective/work_split.h"

namespace shoal::collective {

inline constexpr std::size_t kExhaustiveWorkers = 12;

/// How computing and averaging share the time.
enum class Overlap {
    delayed,  ///< a step is computed while the one before is averaged: the slower of the two sets the pace
    none,     ///< one after the other
};

/// Steps per second of a swarm that computes, and averages, so many a second when it does nothing else.
double combined_pace(double computed, double averaged, Overlap overlap);

struct Worker {
    SplitMember member;  ///< a candidate if it sends; unknown limits as in with_known_limits()
    double speed = 0;    ///< samples per second
};

struct RoleProblem {
    double vector_length = 0;  ///< in the unit of the limits
    double target_batch = 0;   ///< samples of a step
    Overlap overlap = Overlap::delayed;
    std::size_t exhaustive_up_to = kExhaustiveWorkers;  ///< candidates; at most kExhaustiveWorkers
};

/// Throws Error(invalid_argument) if a number is negative or not finite, a length or batch is 0, or nobody
/// may compute.
void check_role_problem(std::span<const Worker> workers, const RoleProblem& problem);

struct RoleChoice {
    std::vector<bool> computes;  ///< by worker
    double steps_per_second = 0;
    WorkSplit split;  ///< of the rounds of that choice
};

/// The choice with the most steps per second; of equal ones, that with more samples. Who does not compute
/// does not send; whether it receives and reduces is as its member says. Throws Error(invalid_argument) if
/// nobody may compute or reduce, or a number is negative, not finite, or a length or batch 0.
RoleChoice choose_roles(std::span<const Worker> workers, const RoleProblem& problem);

/// Steps per second if all who send compute; 0 if nobody does. Unknown limits as in with_known_limits().
double pace_of(std::span<const Worker> workers, const RoleProblem& problem);

}  // namespace shoal::collective
