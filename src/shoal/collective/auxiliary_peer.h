// A peer that trains nothing and holds no state: it lends its line to the averaging rounds of the others.
#pragma once

#include <memory>

#include "shoal/collective/training_peer.h"

namespace shoal::collective {

class AuxiliaryPeer final : public TrainingPeer, public std::enable_shared_from_this<AuxiliaryPeer> {
  public:
    AuxiliaryPeer(net::Network& network, Clock& clock, Averager& averager, ProgressTracker& progress,
                  TrainingSettings settings, TrainingObserver& observer, Log log);

    /// Follows the swarm's step, whatever `start` is.
    awaitable<void> run(Step start) override;
    Step step() const override { return step_; }

  private:
    awaitable<void> until_needed();
    awaitable<void> until_ahead();
    awaitable<void> help();
    void follow();
    void report();

    net::Network& network_;
    Clock& clock_;
    Averager& averager_;
    ProgressTracker& progress_;
    TrainingSettings settings_;
    TrainingObserver& observer_;
    Log log_;
    Step step_{};  ///< whose round comes next
    unsigned attempt_ = 0, failures_ = 0;
    std::uint64_t bytes_sent_ = 0, bytes_received_ = 0;
    std::vector<PeerId> excluded_;
};

}  // namespace shoal::collective
