// What must hold in a swarm whatever happens to it, looked at after each step and each round of each peer:
//
//   same bits         whoever takes a step takes it with the same state
//   same verdict      all members of a round that is averaged name the same contributors and the same digest
//   nothing twice     a sample stands behind at most one averaged round, and behind the weight it was given
//   nobody fails      no peer's training ends with an error, no Compute is used in a way it forbids
//
// Where the swarm averages in groups there are as many histories as peers: digests are compared within a
// round only. Nothing counts twice there either.
//
// That nobody waits for ever and that progress resumes is the explorer's to see (explorer.h).
//
// A swarm that loses its quorum for longer than lost_quorum_timeout, and newcomers that hear only of each
// other, may begin a second history (docs/algorithms.md): from then on the first and the third hold within
// each alone, and are not looked at.
//
// Thread: the one of the simulation.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "shoal/sim/event_log.h"
#include "shoal/sim/swarm.h"

namespace shoal::sim {

class Invariants {
  public:
    /// @param founders  this many nodes may begin the run; if one of the others does, there are two
    /// histories.
    Invariants(Swarm& swarm, std::size_t founders, EventLog& log)
        : swarm_(swarm), founders_(founders), log_(log) {}
    Invariants(const Invariants&) = delete;
    Invariants& operator=(const Invariants&) = delete;

    /// Looks at this node from now on. The node must not outlive this object, or be told to look away
    /// (Swarm's destructor does that).
    void watch(std::size_t index);

    /// True if the swarm may have taken two ways, so that "same bits" and "nothing twice" are not asked of
    /// it.
    bool may_have_two_histories() const;
    /// What did not hold, a sentence each.
    std::vector<std::string> violations() const;
    /// How often two peers' results of one step, and two verdicts of one round, were compared.
    std::uint64_t comparisons() const { return comparisons_; }
    std::uint64_t rounds_averaged() const { return rounds_.size(); }
    std::uint64_t rounds_failed() const { return failed_; }

  private:
    struct Round {
        Step step{};
        collective::Verdict verdict;
        std::size_t node;
    };

    void on_step(std::size_t node, Step step, const Fingerprint& digest);
    void on_round(std::size_t node, Step step, const collective::Verdict& verdict);
    void on_new_round(const Round& round);
    void count_samples(const Round& round, const collective::Contributor& contributor);
    void of_one_history(std::string violation);
    void twice(std::string violation);
    std::string name(std::size_t node) const;
    bool in_groups() const { return swarm_.settings.group_size > 0; }

    Swarm& swarm_;
    std::size_t founders_;
    EventLog& log_;
    std::map<Step, std::pair<Fingerprint, std::size_t>> steps_;  ///< the first result, and whose
    std::map<collective::RoundId, Round> rounds_;
    std::unordered_map<std::uint64_t, Step> used_;  ///< sample: the step that it stands behind
    std::vector<std::string> violations_;
    std::uint64_t comparisons_ = 0, failed_ = 0;
};

}  // namespace shoal::sim
