// The averaging program of DeDLOC in full (notes 2.4): also with limits between two peers, for which
// work_split.h has no closed form, and with reducers that serve some receivers and not others.
//
// In rates: every sender k sends its contribution to reducer i at rate a_ki, reducer i sends results to
// receiver j at rate g_ij, no faster than its slowest sender, and
//     maximise   the least sum_i g_ij of any receiver j
//     such that  each member's sums keep its upload and download limits, and a_ij + g_ij the limit of the
//     pair.
// No sender need be faster than the reducer takes (a_ki = rho_i for all k), which leaves n^2 unknowns and
// about 2 n^2 rows where the notes have n^3. CLP solves it.
//
// Sharing::alike adds g_ij = rho_i: every reducer serves every receiver, which is what a round does
// (round_plan.h); n unknowns are left. Sharing::by_receiver is the program of the notes. Without limits
// between pairs both mostly agree with the closed form, but not always: a receiver with a slow upload may
// reduce for itself alone and spare the others' uploads (the notes say 'exactly'; averaging_program_test.cpp
// has the counterexample, and how often it happens).
//
// What becomes of a fast network inside and a slow one between: contributions cross the slow links, to a
// reducer of each site, and results stay within the site, where results cannot cross as well. Sums over a
// site do not exist in this program, so where both can cross, a flat all-reduce is as good.
//
// A solution by receiver gives amounts, not ranges of elements: that ranges exist which fit all receivers at
// once is certain only if each receiver takes all of the vector from reducers that hold all of it, or alike.
//
// Size and time: up to kMaximumProgramMembers. CPU time on one busy core of AMD Zen 5 with random limits
// between all pairs (shoal-bench-split), for 16, 32, 64 members: alike 0.8, 2.6, 9 ms; by receiver 7 ms, 76
// ms, 0.9 s; 128 members alike 27 ms. choose_roles() solves up to one more for each candidate.
//
// Pure functions, for any thread.
#pragma once

#include <span>
#include <vector>

#include "shoal/collective/role_choice.h"
#include "shoal/collective/work_split.h"

namespace shoal::collective {

inline constexpr std::size_t kMaximumProgramMembers = 128;

enum class Sharing {
    alike,        ///< one split of the vector for all receivers
    by_receiver,  ///< each receiver takes its own mix of reducers
};

struct AveragingProgram {
    /// Limits as they are: 0 sends or receives nothing, infinity has no limit (see with_known_limits()).
    std::vector<SplitMember> members;
    /// Unit of the members' limits, by [from * members + to]; infinity: no limit; empty: none at all. What a
    /// member owes itself does not count.
    std::vector<double> pair_limits;
    Sharing sharing = Sharing::by_receiver;
};

struct AveragingRates {
    double rate = 0;  ///< vectors averaged per unit of time; 0: impossible; infinity: nothing limits it
    std::size_t members = 0;
    std::vector<double> reduced;  ///< by member: the fraction of the vector that it reduces
    std::vector<double> taken;    ///< by [reducer * members + receiver]: the fraction it takes from there

    /// What one member sends to another in a round, in vector lengths.
    double contribution(std::span<const SplitMember> group, std::size_t from, std::size_t to) const {
        return from != to && group[from].sends ? reduced[to] : 0;
    }
    double result(std::size_t from, std::size_t to) const {
        return from != to ? taken[from * members + to] : 0;
    }
};

/// Throws Error(invalid_argument) if a limit is negative or not a number, there are too many members, the
/// number of pair limits is wrong, or nobody sends, receives or reduces.
AveragingRates solve(const AveragingProgram& program);

struct ProgramRoleChoice {
    std::vector<bool> computes;
    double steps_per_second = 0;
    double bound = 0;  ///< no choice does better: the program with computing by halves allowed
    AveragingRates rates;
};

/// Who should compute, as choose_roles(), under limits between pairs: the program with 0 <= c_k <= 1, then
/// the best of the choices 'all with c_k of at least ...'. Unknown limits of workers as in
/// with_known_limits(). Throws as choose_roles() and solve().
ProgramRoleChoice choose_roles(std::span<const Worker> workers, std::vector<double> pair_limits,
                               Sharing sharing, const RoleProblem& problem);

}  // namespace shoal::collective
