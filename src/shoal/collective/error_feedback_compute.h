// Error feedback: what a lossy codec leaves out of a gradient is not lost. A peer remembers the difference
// between what it meant to send and what the codec made of it, and adds it to its next contribution. Without
// that, codecs that always leave out the same (the smallest values, all but the signs) lead astray.
//
// The values that a codec makes do not depend on how the vector is cut (vector_codec.h), so a peer finds out
// by itself what the others have received. A contribution that was in no averaged round is in no remainder
// either: the samples behind it are counted in a later one. Whoever takes a step after the others, and does
// not know whether its contribution was in it, assumes that it was; so a part of a remainder can be lost
// there. The remainder is this peer's own and in no state: a peer that is started again begins without one.
//
// A decorator, like GroupCompute. It costs two vectors of memory, and a pass of encoding and decoding a step
// on the protocol thread.
//
// Source: Seide et al., "1-Bit Stochastic Gradient Descent"; Karimireddy et al., "Error Feedback Fixes
// SignSGD". Both have one sender of fixed weight; here the remainder is part of a mean that the next round
// weighs anew.
#pragma once

#include <memory>
#include <vector>

#include "shoal/collective/compute.h"
#include "shoal/compress/vector_codec.h"

namespace shoal::collective {

/// Thread: as Compute.
class ErrorFeedbackCompute final : public Compute {
  public:
    /// @param inner   outlives this object
    /// @param format  in which the averager sends contributions (AveragerSettings)
    ErrorFeedbackCompute(Compute& inner, compress::VectorFormat format);

    std::size_t gradient_elements() const override { return inner_.gradient_elements(); }
    std::vector<std::size_t> tensor_sizes() const override { return inner_.tensor_sizes(); }
    awaitable<MicroBatchResult> micro_batch() override { return inner_.micro_batch(); }
    awaitable<std::span<const float>> contribution() override;
    void hold() override { inner_.hold(); }
    void release() override { inner_.release(); }
    awaitable<bool> apply(Step from, std::span<const float> average) override;
    void discard() override;
    awaitable<Fingerprint> digest() override { return inner_.digest(); }
    awaitable<StatePointer> snapshot(Step step) override { return inner_.snapshot(step); }
    awaitable<void> load(StatePointer state) override;
    void renumber(Step step) override { inner_.renumber(step); }
    awaitable<double> held_out_loss() override { return inner_.held_out_loss(); }

    /// What the next contribution is increased by; empty before the first step.
    std::span<const float> remainder() const { return remainder_; }

  private:
    void keep_remainder();

    Compute& inner_;
    const compress::VectorFormat format_;
    std::vector<float> vector_;  ///< contributed last
    std::vector<float> remainder_;
    bool is_sent_ = false;  ///< vector_ may be in the average that comes next
};

}  // namespace shoal::collective
