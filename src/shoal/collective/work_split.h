// Who reduces how much: the share of each member of an averaging round.
//
// A member of share w sends, in vector lengths, its contribution to the shares of others and the results of
// its own share to the other receivers, and it receives likewise (ns senders, nr receivers; s, r: 1 if this
// member is one):
//     upload    s (1 - w) + (nr - r) w
//     download  (ns - s) w + r (1 - w)
// The round takes xi seconds if no member sends more than xi * upload limit or receives more than
// xi * download limit. So xi gives each member an interval of shares; the smallest xi whose intervals hold
// shares that add up to 1 is found by bisection. Source: DeDLOC, the averaging program in the closed form of
// notes 2.5.2; with one bandwidth a member and no auxiliary peers it is hivemind's load_balance_peers
// (2.5.1).
//
// All reducers serve all receivers alike here. That is what a round does, and without it the program of the
// notes can do better in a few cases (averaging_program.h, which also knows limits between two peers).
//
// Cost: one pass over the members for each halving, about 60. CPU time on one busy core of AMD Zen 5
// (build/test/bin/shoal-bench-split): 16 members 7 us, 64 members 38 us, 256 members 0.16 ms, 1024 members
// 0.56 ms.
//
// Pure functions, for any thread.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace shoal::collective {

struct SplitMember {
    bool sends = true;     ///< contributes a vector
    bool receives = true;  ///< takes the result. An auxiliary peer neither sends nor receives
    bool reduces = true;   ///< may own a share. A peer in client mode may not
    /// Any unit of length per time, the same for all; 0: unknown. Infinity: no limit.
    double upload = 0, download = 0;
};

/// The members with every unknown limit filled in: the mean of the known ones of that direction, or of the
/// other direction if this one is unknown of everybody, or 1. A member that does not reduce has no limit
/// where it is unknown: it binds nothing. Throws Error(invalid_argument) if a limit is negative or not a
/// number.
std::vector<SplitMember> with_known_limits(std::span<const SplitMember> members);

struct WorkSplit {
    /// The fraction of the vector that each member reduces; they add up to 1. 0 where it does not reduce.
    std::vector<double> fractions;
    double seconds = 0;      ///< per vector length; 0 if nothing need be sent, or nothing limits it
    std::size_t passes = 0;  ///< over the members, that it took
};

/// The split of the shortest round. Where several are (the slowest member binds), shares are in proportion to
/// the most that each could take in that time. Limits are taken as they are: 0 sends or receives nothing.
/// Throws Error(invalid_argument) if nobody may reduce, a limit is negative or not a number, or no round
/// could end (a member has a limit of 0 that it needs).
WorkSplit split_shortest(std::span<const SplitMember> members);

/// The fractions of split_shortest(with_known_limits(members)).
std::vector<double> split_fractions(std::span<const SplitMember> members);

/// The same in whole elements (Hagenbach-Bischoff: round down, then give one each to the largest fraction /
/// (parts + 1)).
/// Parts below a sixteenth of the largest are given to others, as many as are 1/32 of all together.
/// @param minimum_part  so are parts smaller than this, unless the largest part is smaller, too.
std::vector<std::size_t> split_work(std::size_t elements, std::span<const SplitMember> members,
                                    std::size_t minimum_part);

/// Seconds per vector length that any split costs: the longest load / limit of any member, after
/// with_known_limits().
double split_cost(std::span<const double> fractions, std::span<const SplitMember> members);

/// What a member sends and receives in a round, in vector lengths.
struct SplitLoad {
    double upload = 0, download = 0;
};
std::vector<SplitLoad> split_loads(std::span<const double> fractions, std::span<const SplitMember> members);

/// Every reducer owns as much as any other: what all-reduce does that knows no bandwidths.
std::vector<double> equal_split(std::span<const SplitMember> members);

/// One reducer owns all, the one with which the round is shortest: the best parameter server.
std::vector<double> best_server_split(std::span<const SplitMember> members);

}  // namespace shoal::collective
