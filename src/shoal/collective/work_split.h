// Who reduces how much: the share of each member of an averaging round.
//
// The load of a member, in vector lengths, is what it sends (equally, what it receives):
//     contributor: (1 - w) for the shares of others, and (r - 1) * w for its own share to the r - 1 other
//     receivers auxiliary:   r * w
// and the round takes xi seconds if the load of each is at most xi * bandwidth. So each member has an upper
// bound for w that grows with xi; the smallest feasible xi is found by bisection. Source: DeDLOC, the
// averaging program in the closed form of notes 2.5.2; without auxiliary peers it is hivemind's
// load_balance_peers (2.5.1).
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace shoal::collective {

struct SplitMember {
    bool contributes = true;  ///< sends a vector and receives the result
    bool reduces = true;      ///< may own a share
    double bandwidth = 0;  ///< any unit, the same for all; 0: unknown, counts as the mean of the known ones
};

/// The fraction of the vector that each member reduces; they add up to 1. Members that do not reduce get 0.
/// Throws Error(invalid_argument) if nobody may reduce, or a bandwidth is negative or not finite.
std::vector<double> split_fractions(std::span<const SplitMember> members);

/// The same in whole elements (Hagenbach-Bischoff: round down, then give one each to the largest fraction /
/// (parts + 1)).
/// @param minimum_part  parts smaller than this are given to others, unless the largest part is smaller, too.
std::vector<std::size_t> split_work(std::size_t elements, std::span<const SplitMember> members,
                                    std::size_t minimum_part);

/// Seconds per unit of vector length that a split costs: the largest load / bandwidth of any member (of known
/// bandwidth).
double split_cost(std::span<const double> fractions, std::span<const SplitMember> members);

}  // namespace shoal::collective
