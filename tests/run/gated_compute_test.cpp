// The gate before a peer's compute hands on what it knows, so that rounds treat its tensors as they are.
#include "shoal/run/gated_compute.h"

#include <gtest/gtest.h>

#include "shoal/sim/simulated_network.h"

namespace shoal::run {
namespace {

/// Has two tensors, and does nothing.
class TwoTensors final : public collective::Compute {
  public:
    std::size_t gradient_elements() const override { return 10; }
    std::vector<std::size_t> tensor_sizes() const override { return {7, 3}; }
    awaitable<collective::MicroBatchResult> micro_batch() override {
        co_return collective::MicroBatchResult{};
    }
    awaitable<std::span<const float>> contribution() override { co_return std::span<const float>(); }
    void hold() override {}
    void release() override {}
    awaitable<bool> apply(Step, std::span<const float>) override { co_return true; }
    void discard() override {}
    awaitable<Fingerprint> digest() override { co_return Fingerprint(); }
    awaitable<collective::StatePointer> snapshot(Step) override { co_return nullptr; }
    awaitable<void> load(collective::StatePointer) override { co_return; }
    void renumber(Step) override {}
    awaitable<double> held_out_loss() override { co_return 0; }
};

TEST(GatedCompute, names_the_tensors_that_travel_in_codecs_of_their_own) {
    sim::Simulation simulation(1);
    sim::SimulatedInternet internet(simulation, {});
    const PeerId self = PeerId::from_bytes(Bytes(32, 1));
    const auto network = internet.join(self, {});
    Membership membership(*network, internet.clock(self), "test", Log());
    TwoTensors compute;
    const GatedCompute gated(compute, membership);
    EXPECT_EQ(gated.gradient_elements(), 10U);
    EXPECT_EQ(gated.tensor_sizes(), (std::vector<std::size_t>{7, 3}));
}

}  // namespace
}  // namespace shoal::run
