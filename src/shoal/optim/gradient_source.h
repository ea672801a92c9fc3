// Where gradients come from: a model and its data, seen by the optimizer as one flat vector of parameters and
// one of gradients.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "shoal/base/bytes.h"
#include "shoal/base/units.h"
#include "shoal/optim/parameter_layout.h"

namespace shoal::optim {

/// The loss of one micro-batch, whose gradient was just computed.
struct MicroBatchLoss {
    Samples samples{};
    double mean = 0;
};

/// Used by one thread at a time (the compute thread), never by the protocol thread.
class GradientSource {
  public:
    virtual ~GradientSource() = default;

    /// Names, shapes and places of the tensors in the flat vectors below.
    virtual const ParameterLayout& layout() const = 0;

    /// All parameters, in place. The spans stay valid as long as the source.
    virtual std::span<float> parameters() = 0;

    /// The gradient of the last micro_batch(): the sum over its samples of each sample's gradient.
    virtual std::span<const float> gradient() = 0;

    /// The global step that the parameters have reached; told before each micro_batch().
    virtual void set_step(Step /*step*/) {}

    /// Takes the next samples of this peer's own stream, computes their mean loss and its gradient (which
    /// replaces the last one).
    virtual MicroBatchLoss micro_batch() = 0;

    /// Mean loss on held-out data; NaN where there is none.
    virtual double held_out_loss() = 0;

    /// The place in the data stream, for checkpoints.
    virtual std::uint64_t position() const = 0;
    virtual void seek(std::uint64_t position) = 0;
};

}  // namespace shoal::optim
