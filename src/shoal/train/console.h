// What `shoal train` prints: a line a step, and what went wrong.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include "shoal/base/log.h"
#include "shoal/collective/training_peer.h"

namespace shoal::train {

class Console final : public collective::TrainingObserver {
  public:
    /// @param log  for the details of what is told in few words.
    Console(Step last_step, Log log);

    void on_micro_batch(const collective::MicroBatchResult& result, const collective::Progress& own) override;
    void on_round(Step step, const collective::Verdict& verdict) override;
    void on_step(Step step, double loss, double swarm_loss, double step_seconds,
                 const Fingerprint& digest) override;
    void on_held_out_loss(Step step, double loss) override;
    void on_synchronised(Step step, const collective::DownloadReport& report) override;
    void on_trouble(ErrorKind kind, const std::string& text) override;

    /// Prints a line, at once.
    static void say(const std::string& text);
    /// How far the step has come, for when nothing else has been said for a while.
    /// @param own  the step of this peer's state.
    static std::string on_the_way(const collective::SwarmView& view, Step own, Samples target);
    /// Whether anything was said since this was last asked.
    bool take_spoken() { return std::exchange(spoken_, false); }
    /// The held-out loss, if it was told last of this step; else NaN.
    double held_out_loss_of(Step step) const;
    /// Whether this peer has taken a step.
    bool has_stepped() const { return average_step_seconds_ > 0; }

  private:
    void tell(const std::string& text);

    Step last_step_;
    Log log_;
    bool spoken_ = false;
    std::pair<Step, double> held_out_ = {};
    std::size_t round_contributors_ = 0;  ///< of the last averaged round, with samples
    double samples_per_second_ = 0, round_samples_ = 0, average_step_seconds_ = 0;
    std::string trouble_;  ///< said last: not repeated
};

}  // namespace shoal::train
