// The state machine of a peer that trains: what happens between two global steps, and after every kind of
// trouble.
//
//   start -> synchronise -> accumulate -> average -> apply -> accumulate -> ...
//                ^   ^          |            |
//                |   +--behind--+            +-- failed: average again (attempt + 1) without the lost peers
//                +-----------------cut off---+
//
// Source: DeDLOC, sections 2.1 and 2.6 of the notes, with its failure rules replaced: a failed round is
// retried, never stepped locally, and the result travels as values.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "shoal/base/log.h"
#include "shoal/collective/averager.h"
#include "shoal/collective/compute.h"
#include "shoal/collective/phase.h"
#include "shoal/collective/progress.h"
#include "shoal/collective/state_transfer.h"

namespace shoal::collective {

struct TrainingSettings {
    std::string run;
    std::string name;  ///< of this peer, for humans
    Role role = Role::full;
    Samples target_batch_size{};
    Step last_step{};                 ///< training ends when the swarm has taken this many steps
    std::int64_t evaluate_every = 0;  ///< steps between held-out losses; 0: never
    /// Delayed averaging: while a round is under way, the peer computes for the step after it, with the
    /// parameters of before. A step takes the longer of computing and averaging, and not their sum; a
    /// gradient is late by one step at most. The same for all peers of a run.
    bool delayed = false;
    /// The swarm averages in groups (group_partition.h); `compute` is a GroupCompute, the tracker one of
    /// groups. Rounds are unrelated, states are not compared, and who is late goes on with the state it has.
    bool in_groups = false;
    /// This peer computes nothing while the others make more steps without what it sends (role_keeper.h).
    bool choose_roles = false;
    Duration alone_after =
        std::chrono::seconds(5);  ///< a first peer that finds nobody for this long starts the run itself
    Duration lost_quorum_timeout = std::chrono::seconds(
        30);           ///< survivors that are no quorum of the last round's members go on after this
    PhaseProbe probe;  ///< for fault tests (phase.h)
};

/// What happened, for metrics, logs and displays. Called on the protocol thread; must not block.
class TrainingObserver {
  public:
    virtual ~TrainingObserver() = default;
    virtual void on_micro_batch(const MicroBatchResult&, const Progress&) {}
    virtual void on_round(Step, const Verdict&) {}
    /// @param loss  mean over this peer's micro-batches of the step; @param swarm_loss weighted mean over all
    /// contributors' reports.
    virtual void on_step(Step, double /*loss*/, double /*swarm_loss*/, double /*step_seconds*/,
                         const Fingerprint&) {}
    virtual void on_held_out_loss(Step, double) {}
    virtual void on_synchronised(Step, const DownloadReport&) {}
    virtual void on_trouble(ErrorKind, const std::string&) {}
};

/// Runs one peer. The parts are handed in; nothing is started before run().
class TrainingPeer {
  public:
    virtual ~TrainingPeer() = default;
    /// Trains until last_step (then returns), or until cancelled. Trouble with others never ends it.
    /// @param start  the step of the state that `compute` holds now (0, or a checkpoint's).
    virtual awaitable<void> run(Step start) = 0;
    virtual Step step() const = 0;
};

/// For auxiliary peers `compute` may be null.
std::shared_ptr<TrainingPeer> make_training_peer(net::Network& network, Clock& clock, Averager& averager,
                                                 ProgressTracker& progress, Compute* compute,
                                                 StateTransferSettings transfer, TrainingSettings settings,
                                                 TrainingObserver& observer, Log log);

}  // namespace shoal::collective
