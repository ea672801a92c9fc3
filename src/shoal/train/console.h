// What `shoal train` prints: a line a step, and what went wrong.
#pragma once

#include <cstdint>
#include <string>

#include "shoal/base/clock.h"
#include "shoal/collective/progress.h"
#include "shoal/collective/training_peer.h"

namespace shoal::train {

class Console final : public collective::TrainingObserver {
  public:
    /// @param progress  for the number of peers; must outlive this object.
    Console(const collective::ProgressTracker& progress, Clock& clock, Step last_step);

    void on_micro_batch(const collective::MicroBatchResult& result, const collective::Progress& own) override;
    void on_round(Step step, const collective::Verdict& verdict) override;
    void on_step(Step step, double loss, double swarm_loss, double step_seconds,
                 const Fingerprint& digest) override;
    void on_held_out_loss(Step step, double loss) override;
    void on_synchronised(Step step, const collective::DownloadReport& report) override;
    void on_trouble(ErrorKind kind, const std::string& text) override;

  private:
    void say(const std::string& text);

    const collective::ProgressTracker& progress_;
    Clock& clock_;
    Step last_step_;
    double samples_per_second_ = 0, round_samples_ = 0, average_step_seconds_ = 0;
    std::string trouble_;  ///< said last: not repeated
};

}  // namespace shoal::train
