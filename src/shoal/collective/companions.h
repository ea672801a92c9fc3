// Which history this peer's state belongs to, and so who must be with it before the next round may begin.
//
// Rule (lineage.h): a group averages step k only if the members of the round that led to step k which are in
// it are a quorum of all that round's members. Every member holds a Begin against that rule, with the signed
// joins in it, so no leader with little knowledge can break it.
//
// Why no step is averaged twice, with different results. Assume that step k was reached by one averaged round
// with the members M (it holds for the first step, see below), and that two rounds A and B of step k are both
// averaged.
//   - A and B each hold a quorum of M, and any two quorums have a peer in common: p, in both.
//   - p named the round of M in its joins for A and for B, so it is the same process: one that has restarted
//     has no memory, names no round, and counts nowhere. So p took part in one after the other, say A first.
//   - A is averaged only after every member has reported that it is complete, p too. From that report on p
//     begins no other round of step k before it knows the decision (RoundVote::in_doubt). The decision is
//     'averaged' and nothing else (vote.h), so p went on to step k + 1, and was not in B.
// So step k + 1, too, was reached by one round. A round that failed changes nothing: M stays what it was,
// because some members of the failed round may never have heard that it began (that they counted as present
// was how both halves of a partition used to go on). A member that is cut off before it is complete is free
// at once: without its report the round cannot be averaged any more.
//
// Who comes and goes. A newcomer has downloaded the state of step k; it is in M neither as a peer that may
// count nor as one that must, and a group of newcomers alone begins nothing. A goodbye takes a peer c out
// of M: it says the step from which on c takes part in no round (one later than its own if c leaves in
// doubt), and counts only for the members of M who are at that very step, hence cannot hide that c was in an
// averaged round of step k. If A was begun without the peers L of M, and B without L', all of which have
// left, then A and B lie within M - (L + L'), and hold at least (|M| - |L|) / 2 and (|M| - |L'|) / 2 of M;
// they are disjoint at most if L = L', and then they are quorums of the same set.
//
// What is not covered. The beginning of a run: founders have no round to come from, and peers that
// start at the same time without hearing of each other begin histories of their own. A lost quorum: when none
// is found for TrainingSettings::lost_quorum_timeout, the survivors become founders, and two halves of a
// partition that lasts longer than that may both go on; when they meet, whoever is fewer takes the others'
// state (swarm_rules.h). So it also takes that time until a swarm goes on whose quorum has restarted, as one
// of two peers when the one with the lowest PeerId is killed. Peers that lie: a member of M that takes part
// in two groups at a time, or a goodbye that is not meant; a stranger can name no round that honest members
// come from, as they would not find it in their lists, but can make up one for a group of newcomers.
#pragma once

#include <functional>

#include "shoal/collective/averager.h"

namespace shoal::collective {

class Companions {
  public:
    /// @param one_history  false: the rounds are unrelated, as where the swarm averages in groups, and every
    /// peer is a founder always
    explicit Companions(bool one_history = true) : one_history_(one_history) {}

    /// This peer was a member of an averaged round, and takes its step.
    void averaged(const Verdict& verdict);
    /// It has downloaded a state, or joined a run that trains already.
    void arrive();
    /// It begins a run, or goes on without a quorum.
    void begin_anew();

    /// @param has_left  said goodbye at this peer's step: counts no longer
    Lineage lineage(const std::function<bool(const PeerId&)>& has_left) const;
    bool are_quorate(const std::function<bool(const PeerId&)>& present,
                     const std::function<bool(const PeerId&)>& has_left) const;
    /// Members of the last round; none for a founder or newcomer.
    const std::vector<PeerId>& last() const { return lineage_.members; }

  private:
    bool one_history_;
    Lineage lineage_;
};

}  // namespace shoal::collective
