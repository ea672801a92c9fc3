// The work of a step where the swarm averages in groups (group_partition.h). Parameters differ between
// groups, so gradients alone would not keep the swarm together: what travels is the gradient and, behind it,
// the parameters. A step sets the parameters to the group's mean, and then takes the optimizer's step with
// the group's mean gradient. The optimizer's moments stay with the peer, as in local updates. Gradients weigh
// as much as their samples, parameters all the same (RoundRequest::state_tail).
//
// A decorator: it works with any Compute whose state has a section "parameters" as long as the gradient. It
// costs a copy of the state in each step, which it keeps during the round, and loading that.
//
// Thread: as Compute.
#pragma once

#include <functional>

#include "shoal/collective/compute.h"

namespace shoal::collective {

class GroupCompute final : public Compute {
  public:
    /// Told of a peer's own parameters and of its group's mean, just before they are replaced by it.
    using Observer = std::function<void(Step, std::span<const float> own, std::span<const float> mean)>;

    /// @param inner  outlives this object; its state is that of step `start`
    explicit GroupCompute(Compute& inner, Step start = Step{}, Observer observer = {})
        : inner_(inner), observer_(std::move(observer)), step_(start) {}

    std::size_t gradient_elements() const override { return 2 * inner_.gradient_elements(); }
    std::vector<std::size_t> tensor_sizes() const override;
    awaitable<MicroBatchResult> micro_batch() override;
    /// Without samples, zeros stand for the gradient.
    awaitable<std::span<const float>> contribution() override;
    void hold() override;
    void release() override;
    /// Returns false, with the state as it was, if anything in the average is not finite; and, with the
    /// parameters at the group's mean, if the optimizer's step does not end finite.
    awaitable<bool> apply(Step from, std::span<const float> average) override;
    void discard() override;  // of the accumulator: the parameters stay
    awaitable<Fingerprint> digest() override { return inner_.digest(); }
    awaitable<StatePointer> snapshot(Step step) override;
    awaitable<void> load(StatePointer state) override;
    void renumber(Step step) override;
    awaitable<double> held_out_loss() override { return inner_.held_out_loss(); }

  private:
    Compute& inner_;
    Observer observer_;
    Step step_;  ///< of the state in inner_
    std::vector<float> vector_;
    StatePointer kept_;          ///< the inner state, since the last contribution
    bool has_gradient_ = false;  ///< samples are accumulated
};

/// The section of a state that the parameters are in. Throws Error(corrupted) if there is none of that
/// length.
const std::vector<float>& parameters_of(const State& state, std::size_t elements);

}  // namespace shoal::collective
