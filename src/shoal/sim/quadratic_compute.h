// The work of a step in simulation: a convex problem whose true trajectory one machine can compute, at the
// price of modelled seconds of virtual time.
//
// The gradient of a sample is parameters - wanted(sample), so the loss falls to the noise of the samples; the
// optimizer is SGD with momentum in float, bit-equal on all peers. Every sample has a number, and a ledger
// remembers which ones stood behind each contribution: whether one was lost or counted twice shows there.
//
// Thread: the one of the simulation.
#pragma once

#include <array>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "shoal/base/identity.h"
#include "shoal/base/random.h"
#include "shoal/collective/compute.h"

namespace shoal::sim {

/// Parameter i of sample s should be wanted(s, i % kPatterns), in [-1, 1).
inline constexpr std::size_t kPatterns = 16;
double wanted(std::uint64_t sample, std::size_t parameter);

/// The samples behind each contribution of a peer to a step, one entry a contribution: a peer that comes back
/// may contribute to a step for a second time.
using Ledger = std::map<std::pair<PeerId, Step>, std::vector<std::vector<std::uint64_t>>>;

struct QuadraticSettings {
    std::size_t width = 100;         ///< parameters
    std::int64_t samples = 8;        ///< of a micro-batch
    Duration time{100'000'000};      ///< of a micro-batch
    double time_jitter = 0;          ///< each takes up to this share longer, uniform
    std::uint64_t first_sample = 0;  ///< this peer's samples are numbered from here on
    double rate = 0.1, momentum = 0.5;
};

class QuadraticCompute final : public collective::Compute {
  public:
    /// @param violations  gets a line when it is used in a way that Compute forbids (two calls at a time, a
    /// step that does not follow).
    QuadraticCompute(const PeerId& self, Clock& clock, Random random, std::shared_ptr<Ledger> ledger,
                     std::shared_ptr<std::vector<std::string>> violations, QuadraticSettings settings);

    std::vector<float> parameters, momentum;
    bool poison_next = false;        ///< the next contribution is not finite
    bool has_held_out_data = true;   ///< without, the held-out loss is NaN
    std::set<std::int64_t> skipped;  ///< steps whose average was not finite
    /// Samples that count for the step after the one whose parameters they were computed with.
    std::set<std::uint64_t> early;

    std::size_t gradient_elements() const override { return settings_.width; }
    awaitable<collective::MicroBatchResult> micro_batch() override;
    awaitable<std::span<const float>> contribution() override;
    awaitable<bool> apply(Step from, std::span<const float> average) override;
    void hold() override;
    void release() override;
    void discard() override;
    awaitable<Fingerprint> digest() override { co_return fingerprint_now(); }
    awaitable<collective::StatePointer> snapshot(Step step) override;
    awaitable<void> load(collective::StatePointer state) override;
    void renumber(Step step) override;
    awaitable<double> held_out_loss() override;

    Fingerprint fingerprint_now() const;
    /// Samples that it has computed so far, whatever became of them.
    std::uint64_t samples_computed() const { return next_sample_ - settings_.first_sample; }
    /// The step of the state that it holds at the start: 0, or a checkpoint's.
    void start_at(Step step) { step_ = step; }

  private:
    class InUse;
    double loss_of(std::uint64_t first, std::int64_t count) const;

    PeerId self_;
    Clock& clock_;
    Random random_;
    std::shared_ptr<Ledger> ledger_;
    std::shared_ptr<std::vector<std::string>> violations_;
    QuadraticSettings settings_;
    std::uint64_t next_sample_;
    Step step_{};
    bool busy_ = false;
    struct Accumulator {
        std::vector<std::uint64_t> samples;
        std::vector<double> sum;  ///< of the gradients
    };
    Accumulator current_, ahead_;  ///< for the next step; since hold(): for the step after it
    bool held_ = false;
    std::vector<float> mean_;
};

}  // namespace shoal::sim
