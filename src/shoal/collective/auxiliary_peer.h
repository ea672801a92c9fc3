// A peer that trains nothing and holds no state: it lends its line to the averaging rounds of the others.
#pragma once

#include <memory>
#include <optional>

#include "shoal/collective/training_peer.h"

namespace shoal::collective {

class AuxiliaryPeer final : public TrainingPeer, public std::enable_shared_from_this<AuxiliaryPeer> {
  public:
    AuxiliaryPeer(net::Network& network, Clock& clock, Averager& averager, ProgressTracker& progress,
                  TrainingSettings settings, TrainingObserver& observer, Log log);

    /// Follows the step of most that train, whatever `start` is, and ends when most have arrived at the last.
    awaitable<void> run(Step start) override;
    Step step() const override { return step_; }

  private:
    bool is_over();
    bool lasts(bool condition, std::optional<TimePoint>& since, Duration how_long);
    awaitable<void> until_change();
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
    std::optional<TimePoint> over_since_, ahead_since_;
};

}  // namespace shoal::collective
