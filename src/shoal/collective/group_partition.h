// Which peers average with which when the swarm is too large for one group ("Moshpit"): pure functions that
// every peer computes for itself.
//
// In each step the swarm falls into r groups, by a hash of PeerId and step, so the groups of a step are a
// random partition that has nothing to do with that of the step before. What the peers hold differs less
// after every step: for any partition that is drawn without regard to the values, also into groups of
// unequal sizes, the variance among N peers falls to (r - 1) / (N - 1) of what it was, on average.
//
// r is a power of two, so that peers that disagree about it by a factor of two still have groups in common:
// one group of the smaller r is exactly two of the larger one. A retry of a step is among the same group.
#pragma once

#include <cstdint>
#include <span>

#include "shoal/base/identity.h"
#include "shoal/base/units.h"

namespace shoal::collective {

/// No more groups than this, whatever anybody says about the swarm's size.
inline constexpr std::uint32_t kMostGroups = 1U << 16U;
/// No swarm counts for larger.
inline constexpr double kLargestSwarm = 1e7;

/// How many groups a swarm of about so many peers has. With `before` groups until now, it stays with them
/// until the size is clearly another: more than 1.7 times what suits them, or less than 1 / 1.7.
/// @param before  0: none yet
std::uint32_t number_of_groups(double peers, std::size_t group_size, std::uint32_t before);

/// Below `groups`, which is a power of two.
std::uint32_t group_of(const PeerId& peer, Step step, std::uint32_t groups);

/// In which part of the census a peer is: it is at level k with probability 2^-(k+1).
inline constexpr unsigned kCensusLevels = 16;
unsigned census_level(const PeerId& peer);
/// Size of a swarm of which so many are seen at `level` or above.
double size_by_census(std::size_t seen, unsigned level);

/// A peer's estimate of the swarm's size after a step, from what the members of its group said and how many
/// there were. The median, so that a few absurd claims move nothing; and a tenth of what was counted, so that
/// it follows the truth.
/// @param own      this peer's estimate until now
/// @param claims   of the other members, at most kLargestSwarm each; those below 1 do not count
/// @param members  of the group, this peer included
double next_size_estimate(double own, std::span<const double> claims, std::size_t members,
                          std::uint32_t groups);

}  // namespace shoal::collective
