// The rules by which a peer judges what others say, as pure functions: no time, no network.
//
// Terms. A *voter* is a live peer that trains; when nobody trains yet (a whole run starts or resumes), every
// live peer that holds a state; a peer in doubt (it claimed a step whose state it could not show) is none.
// The *crowd's* step is the highest that a majority of the voters has reached. The *swarm's* step is the
// highest plausible one: our own; what a majority (or exactly half, but never a single peer) of the voters
// has reached; or what any single peer claims that is at most `plausible_lead` ahead of both. So a newcomer
// believes the crowd, a peer that missed a round believes whoever took part in it, and nobody believes a lone
// liar.
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "shoal/base/identity.h"
#include "shoal/collective/progress.h"

namespace shoal::collective {

/// True if those for whom `present` holds are a quorum of the members: a majority, or exactly half of them
/// with the lowest PeerId among them. A quorum of nobody is reached by anybody.
bool is_quorum(std::span<const PeerId> members, const std::function<bool(const PeerId&)>& present);

/// Judges the swarm from the records of all live peers.
/// @param live     ascending PeerId, with our own; samples already limited to what is plausible
/// @param own      what we say of ourselves
/// @param doubted  peers whose claims do not count
SwarmView judge_swarm(std::span<const Progress> live, const Progress& own, Samples target_batch_size,
                      std::int64_t plausible_lead, const std::function<bool(const PeerId&)>& doubted);

/// True when the samples at the view's step reach the target, or more than half of the other training peers
/// at that step wait for its round.
bool judge_batch_full(const SwarmView& view, std::span<const Progress> live, const PeerId& self,
                      Samples target_batch_size);

/// How many of the samples that a record claims are counted.
/// @param seconds_at_step  how long the peer has been at its step, as seen by us; infinite when we do not
/// know
Samples plausible_samples(const Progress& claim, double seconds_at_step, Samples target_batch_size);

}  // namespace shoal::collective
