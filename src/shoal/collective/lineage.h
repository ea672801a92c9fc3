// Which group of peers may begin the next round: the rule by which the averaged rounds of a run form one
// history. companions.h has the argument why.
//
// Terms. The *last round* of a state is the averaged round that led to it. A *witness* is a peer that was a
// member of the last round of its state and has run without a restart since; its join names that round and
// those of its trainers that have not left. A *newcomer* has downloaded its state. Who is neither is a
// *founder*: the state is that of a beginning run, or so many peers were lost that it goes on regardless.
// A group may go on if all its witnesses name the same round and, by the list of each of them, are a quorum
// (a majority, or exactly half with the lowest PeerId); without witnesses, if it has a founder.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "shoal/collective/round_plan.h"

namespace shoal::collective {

/// Longer lists in a join are refused.
inline constexpr int kMaximumLastMembers = static_cast<int>(kLargestGroup);

/// How a join names a member of its last round; in the order of PeerIds.
std::uint64_t member_number(const PeerId& peer);

/// Writes a peer's lineage into its join.
void set_lineage(Join& join, const Lineage& lineage);

/// True if the group may go on.
bool may_go_on(std::span<const Join> joins);

/// True if at least one of them is a witness.
bool has_witness(std::span<const Join> joins);

/// The largest group that may go on of those that want to, with the one at index 0 (the leader) in it, as
/// flags. All false when there is none. A witness is left out when it comes from another round, or needs a
/// member that is not here.
std::vector<bool> choose_group(std::span<const Join> joins);

}  // namespace shoal::collective
