// Who is named as the cause of a failed round, when several members complain.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "shoal/collective/round_messages.h"

namespace shoal::collective {

struct Culprits {
    std::vector<std::uint32_t> lost;  ///< ascending
    std::string cause;
};

/// Finds few members whose absence explains every complaint. Those go that complain of themselves, or are
/// complained of and silent. A broken link is a complaint of two members about each other, and not both need
/// to go: of the others the member with most complaints (its own and others') goes first; on a tie the one
/// that more others complain of, then not the proposer, then the highest index. A proposer of whom nobody
/// complains, and who complains of no more than half of the others itself, stays.
/// @param observations  by member; @param silent  members who do not answer the proposer.
Culprits find_culprits(const std::vector<Observation>& observations, const std::vector<bool>& silent,
                       std::size_t proposer, const RoundPlan& plan);

/// Complaints about members whose results differ from the others': the owner if most holders of its share
/// disagree with it, else those who hold something else than the owner. Empty if all agree. Every observation
/// must be complete.
std::vector<Blame> compare_digests(const std::vector<Observation>& observations, const RoundPlan& plan);

}  // namespace shoal::collective
