// The rules by which a peer judges what others say, as pure functions: no time, no network.
//
// Terms. A *voter* is a live peer that trains; when nobody trains yet (a whole run starts or resumes), every
// live peer that holds a state; a peer in doubt (it could not show what it claimed, or showed something bad)
// is none. The *crowd's* step is the highest that a majority of the voters has reached. The *swarm's* step is
// the highest that somebody can vouch for: our own; what a majority of the voters has reached, or half of
// them, but never a single peer; what a quorum of the members of our last averaged round has reached, if it
// is more than one peer. So a newcomer believes the crowd, a peer that missed a round believes those who took
// part in it, and a single peer moves nobody who trains, however little it claims.
//
// A claim that contradicts us, and that nobody vouches for, matters only to a peer without company (a swarm
// of two of which one missed a round): the rival state has to prove itself on held-out data
// (trainer_claims.cpp).
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
/// @param live        ascending PeerId, with our own; samples already limited to what is plausible
/// @param own         what we say of ourselves
/// @param companions  ascending: members of the averaged round that led to our state, this peer included,
/// less those
///                    that have left; none for a founder or newcomer
/// @param doubted     peers whose claims do not count
SwarmView judge_swarm(std::span<const Progress> live, const Progress& own, Samples target_batch_size,
                      std::span<const PeerId> companions, const std::function<bool(const PeerId&)>& doubted);

/// True when the samples at the view's step reach the target, or more than half of the other training peers
/// at that step wait for its round. A client goes by those that are no clients: no connection joins it to the
/// others, and the directory tells of their samples many seconds late.
bool judge_batch_full(const SwarmView& view, std::span<const Progress> live, const Progress& own,
                      Samples target_batch_size);

/// How many of the samples that a record claims are counted.
/// @param computes_for  seconds that the peer may have computed for its next step, as seen by us; infinite
/// when we do not know
Samples plausible_samples(const Progress& claim, double computes_for, Samples target_batch_size);

/// The largest weight of a contribution. Who is honest begins no micro-batch once the batch is full, so it
/// has less than the target and one micro-batch; a micro-batch that is larger than that counts as this
/// weight.
double maximum_weight(Samples target_batch_size);

/// The most samples that a peer can bring to a round.
/// @param claimed     by its newest record, for the round's step (0 if that record is of an earlier one)
/// @param seconds_ago when that record came; it may have computed since
double plausible_weight(Samples claimed, const Progress& record, double seconds_ago);

}  // namespace shoal::collective
