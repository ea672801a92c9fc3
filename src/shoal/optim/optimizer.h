// The optimizer step: from parameters, averaged gradient and optimizer state at one global step to those at
// the next. Pure arithmetic with the same bits on every machine and SIMD path, so peers with equal averages
// keep equal parameters.
//
//   sgd    momentum (Nesterov's on request), weight decay added to the gradient: torch.optim.SGD, dampening 0
//   larc   sgd whose gradient is scaled for each tensor by the norm of its weights (You et al., "Large Batch
//          Training of Convolutional Networks"), in the form that the SwAV runs used:
//            t = trust * ||p|| / (||g|| + decay * ||p|| + epsilon); with trust_clip min(t / rate, 1)
//            v = momentum * v + t * (g + decay * p);  p -= rate * v
//          where p or g is all zeros: t = 1, decay = 0
//   adamw  decoupled weight decay: torch.optim.AdamW (Loshchilov, Hutter, "Decoupled Weight Decay
//          Regularization")
//   lamb   You et al., "Large Batch Optimization for Deep Learning: Training BERT in 76 minutes", in the form
//          of torch_optimizer.Lamb with debias, which the collaborative ALBERT runs used:
//            m = beta1 m + (1 - beta1) g;  v = beta2 v + (1 - beta2) g^2;
//            u = m / (sqrt(v) + epsilon) + decay p
//            ratio = min(||p||, maximum_weight_norm) / ||u||  per tensor, 1 if either norm is 0
//            p -= rate * sqrt(1 - beta2^t) / (1 - beta1^t) * ratio * u   (without bias correction: rate *
//            ratio * u)
//
// A tensor that the layout calls frozen keeps its values, and its state its zeros, until the step that it
// names.
#pragma once

#include <array>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "shoal/base/units.h"
#include "shoal/optim/parameter_layout.h"
#include "shoal/optim/vector_math.h"

namespace shoal::optim {

struct OptimizerSettings {
    std::string name = "lamb";                   ///< "lamb", "larc", "adamw" or "sgd"
    std::array<double, 2> betas = {0.9, 0.999};  ///< "lamb", "adamw": decay of the moments, each in [0, 1)
    double epsilon = 1e-6;                       ///< "lamb", "adamw": > 0; "larc": >= 0
    double weight_decay = 0.01;                  ///< >= 0; only for tensors that decay by the layout
    double momentum = 0.9;                       ///< "sgd", "larc": in [0, 1)
    bool nesterov = false;                       ///< "sgd": needs a momentum
    bool bias_correction = true;                 ///< "lamb", "adamw"
    double maximum_weight_norm = 10000;          ///< "lamb": > 0
    double trust = 0.001;                        ///< "larc": > 0
    bool trust_clip = false;                     ///< "larc": a tensor's own rate never above the schedule's
};

/// A vector of the optimizer's own, of as many elements as there are parameters.
struct StatePart {
    std::string_view name;  ///< "first_moment", "second_moment" or "momentum"; lives as long as the program
    std::span<float> values;
};

/// Not safe from two threads at once.
class Optimizer {
  public:
    virtual ~Optimizer() = default;

    /// Updates parameters and state in place. Throws Error(invalid_argument), with nothing changed, if a
    /// vector is not as long as the layout says, the rate is negative or not finite, or the step is negative.
    /// @param from  the global step that this update leads away from; 0 for the very first.
    /// @param gradient  finite: all_finite() or clip_gradient_norm() said so. Anything else ends in the
    /// parameters.
    void step(Step from, std::span<float> parameters, std::span<const float> gradient, double learning_rate);

    /// The state, all zeros at first, always in the same order. Together with the global step it is
    /// everything that the optimizer knows: to move or to resume one, copy these vectors. The spans stay
    /// valid as long as the optimizer.
    virtual std::vector<StatePart> state() = 0;

    const ParameterLayout& layout() const { return layout_; }

  protected:
    explicit Optimizer(ParameterLayout layout) : layout_(std::move(layout)) {}

    /// With arguments checked and the floating-point mode set.
    virtual void do_step(Step from, float* parameters, const float* gradient, double learning_rate) = 0;

  private:
    ParameterLayout layout_;
};

/// Throws Error(invalid_argument) that names the field on an unknown method or an impossible setting.
std::unique_ptr<Optimizer> make_optimizer(const OptimizerSettings& settings, ParameterLayout layout);

}  // namespace shoal::optim
