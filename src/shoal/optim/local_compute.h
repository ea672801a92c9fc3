// The work of a step on this machine: a GradientSource and an Optimizer on a thread of their own, as the
// protocol wants it.
#pragma once

#include <asio/any_io_executor.hpp>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "shoal/collective/compute.h"
#include "shoal/optim/gradient_source.h"
#include "shoal/optim/local_updates.h"
#include "shoal/optim/optimizer.h"
#include "shoal/optim/schedule.h"

namespace shoal::optim {

struct LocalComputeSettings {
    double clip_gradient_norm = 0;  ///< of the swarm's average; 0: no clipping
    double load =
        1;  ///< share of the time that is computed, in (0, 1]; the rest is left to the machine's owner
    int maximum_dropped = 100;  ///< micro-batches in a row that are not finite until micro_batch() gives up
    Duration longest_pause =
        std::chrono::milliseconds(100);  ///< after one that was dropped: doubles up to this from 1 ms
    LocalUpdateSettings local_updates;   ///< with them, the optimizer takes this peer's own steps
    int niceness = 5;  ///< of the compute thread, so that the protocol thread is never starved by it; 0 to 19
};

/// Implements collective::Compute. Every method runs its work on one compute thread, first come first served,
/// so that an abandoned call can never overlap a later one; the spans and states that come back belong to the
/// protocol thread until the next call.
///
/// A micro-batch whose loss or gradient is not finite is dropped, and a growing pause follows; when too many
/// are dropped in a row, micro_batch() throws Error(bad_input): model or data give nothing to learn from.
///
/// Gradients are accumulated as sums over samples in fp32, one addition a micro-batch, in the order of the
/// micro-batches; with delayed averaging in two such sums (one more vector of the gradient's length). A step
/// that does not end finite is taken back from a copy that is kept (memory: parameters and optimizer state
/// twice).
///
/// With local updates (local_updates.h) the gradients of a few samples at a time become a step of this peer's
/// own; the contribution is how far it has come, and state and digest are the global parameters and the outer
/// optimizer's. They do not go together with hold().
class LocalCompute final : public collective::Compute {
  public:
    /// @param source, optimizer  must outlive this object.
    LocalCompute(GradientSource& source, Optimizer& optimizer, ScheduleSettings schedule, Clock& clock,
                 LocalComputeSettings settings);
    /// Waits for the work that is under way.
    ~LocalCompute() override;

    std::size_t gradient_elements() const override;
    std::vector<std::size_t> tensor_sizes() const override;
    awaitable<collective::MicroBatchResult> micro_batch() override;
    awaitable<std::span<const float>> contribution() override;
    awaitable<bool> apply(Step from, std::span<const float> average) override;
    void hold() override;
    void release() override;
    void discard() override;
    awaitable<Fingerprint> digest() override;
    awaitable<collective::StatePointer> snapshot(Step step) override;
    awaitable<void> load(collective::StatePointer state) override;
    void renumber(Step step) override;
    awaitable<double> held_out_loss() override;

    struct Held {
        collective::StatePointer state;
        /// The place in the data stream that belongs to it: when the state was reached. What micro_batch()
        /// has taken since is not in the state.
        std::uint64_t position = 0;
    };
    /// A copy of the state that is held now, with the step that apply() and load() brought it to. After an
    /// apply() that nobody waited for (a cancellation) that is a later one than its caller knows of.
    awaitable<Held> held_state();

    /// Runs a function with the source on the compute thread (to write a checkpoint, to read the data
    /// position).
    asio::any_io_executor compute_thread();

  private:
    struct Worker;
    std::shared_ptr<Worker> worker_;
    Clock& clock_;
    LocalComputeSettings settings_;
};

/// Names of the sections of a State: "parameters", then "optimizer/<name>" in the order of
/// Optimizer::state().
inline constexpr const char* kParametersSection = "parameters";

}  // namespace shoal::optim
