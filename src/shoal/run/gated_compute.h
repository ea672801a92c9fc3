// The compute of a peer that trains nothing before the run takes it (run/membership.h).
#pragma once

#include <utility>
#include <vector>

#include "shoal/collective/training_peer.h"
#include "shoal/run/membership.h"

namespace shoal::run {

/// Hands everything on to another Compute; only micro_batch() waits until this peer is admitted. As an
/// observer, it tells the membership of the steps. Thread: the protocol thread.
class GatedCompute final : public collective::Compute, public collective::TrainingObserver {
  public:
    /// Both must outlive this object.
    GatedCompute(collective::Compute& compute, Membership& membership)
        : compute_(compute), membership_(membership) {}

    awaitable<collective::MicroBatchResult> micro_batch() override {
        co_await membership_.until_admitted();
        co_return co_await compute_.micro_batch();
    }
    void on_step(Step, double, double, double, const Fingerprint&) override { membership_.took_step(); }

    std::size_t gradient_elements() const override { return compute_.gradient_elements(); }
    std::vector<std::size_t> tensor_sizes() const override { return compute_.tensor_sizes(); }
    awaitable<std::span<const float>> contribution() override { return compute_.contribution(); }
    awaitable<bool> apply(Step from, std::span<const float> average) override {
        return compute_.apply(from, average);
    }
    void hold() override { compute_.hold(); }
    void release() override { compute_.release(); }
    void discard() override { compute_.discard(); }
    awaitable<Fingerprint> digest() override { return compute_.digest(); }
    awaitable<collective::StatePointer> snapshot(Step step) override { return compute_.snapshot(step); }
    awaitable<void> load(collective::StatePointer state) override { return compute_.load(std::move(state)); }
    void renumber(Step step) override { compute_.renumber(step); }
    awaitable<double> held_out_loss() override { return compute_.held_out_loss(); }

  private:
    collective::Compute& compute_;
    Membership& membership_;
};

}  // namespace shoal::run
