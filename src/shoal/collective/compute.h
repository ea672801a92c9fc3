// The seam between the state machine of a training step (here) and the work of a step (optim and nn, or a
// simulation).
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "shoal/base/clock.h"
#include "shoal/base/hash.h"
#include "shoal/base/units.h"

namespace shoal::collective {

struct MicroBatchResult {
    Samples samples{};     ///< 0 when the gradients were not finite: the micro-batch was dropped
    double loss = 0;       ///< mean over the samples
    double seconds = 0;    ///< time of the computation
    bool dropped = false;  ///< not finite
};

/// One named vector of the state, e.g. "parameters", "optimizer/first_moment".
struct StateSection {
    std::string name;
    std::vector<float> values;
};

/// Everything that a newcomer needs to go on at `step`, in an order that is the same on all peers.
struct State {
    Step step{};
    std::vector<StateSection> sections;
};
using StatePointer = std::shared_ptr<const State>;

/// The local work of one peer. All calls come from the protocol thread, one at a time; the real
/// implementation runs them on a compute thread of its own and resumes the coroutine when done. Cancelling a
/// call abandons its result.
class Compute {
  public:
    virtual ~Compute() = default;

    /// Number of floats in the gradient.
    virtual std::size_t gradient_elements() const = 0;

    /// Lengths of the tensors that lie in the gradient one behind the other: which travel in which codec. By
    /// default it is one.
    virtual std::vector<std::size_t> tensor_sizes() const { return {gradient_elements()}; }

    /// Computes one micro-batch and adds its gradients to the accumulator.
    virtual awaitable<MicroBatchResult> micro_batch() = 0;

    /// The mean gradient over all samples accumulated so far. Valid until micro_batch(), apply(), discard()
    /// or load(); after hold() also beyond micro_batch().
    virtual awaitable<std::span<const float>> contribution() = 0;

    /// Delayed averaging: what is accumulated now is on its way into the step that follows, so micro-batches
    /// from now on are kept apart, for the step after it.
    virtual void hold() = 0;

    /// That step was not taken: what was kept apart since hold() belongs to the same accumulator again.
    virtual void release() = 0;

    /// Takes the optimizer step from `from` to next(from) with the swarm's average, and empties the
    /// accumulator; what was kept apart since hold() is in it then. Returns false, with the state as it was,
    /// if the average or the new parameters are not finite.
    virtual awaitable<bool> apply(Step from, std::span<const float> average) = 0;

    /// Empties the accumulator, and drops what was kept apart.
    virtual void discard() = 0;

    /// Fingerprint of parameters and optimizer state. Equal on all peers of the same step.
    virtual awaitable<Fingerprint> digest() = 0;

    /// A copy of the state after `step` steps.
    virtual awaitable<StatePointer> snapshot(Step step) = 0;

    /// Replaces the state and empties the accumulator. Throws Error(corrupted) if the sections do not fit
    /// this model; the state is then unchanged.
    virtual awaitable<void> load(StatePointer state) = 0;

    /// The state that it holds counts as that of another step from now on. Nothing else changes: what is
    /// accumulated stays.
    virtual void renumber(Step step) = 0;

    /// Mean loss on held-out data, or NaN when there is none.
    virtual awaitable<double> held_out_loss() = 0;
};

}  // namespace shoal::collective
