// The max player of adversarial training: min over the parameters, max over a perturbation of each sample's
// embedded words, on a ball. Internal to this room (libtorch types).
//
// Gradient ascent from zero: each step goes `rate` times the radius along the sample's own gradient, made a
// unit, and is projected on the ball. So it does not matter how samples are cut into batches, and the
// gradient of the parameters is that at the perturbation found (Danskin). One step of rate 1 is the fast
// gradient method (Miyato et al., "Adversarial Training Methods for Semi-Supervised Text Classification").
#pragma once

#include <ATen/core/Tensor.h>
#include <functional>

#include "shoal/nn/model.h"

namespace shoal::nn {

/// Throws Error(invalid_argument) for settings that make no sense.
void check(const AdversarySettings& settings);

/// A perturbation of `shape` ([samples, ...]) that raises the loss, in the ball of each sample; no gradient
/// flows through it.
/// @param loss  of a perturbation, as a mean over samples. Called once a step, with gradients enabled.
at::Tensor find_perturbation(const AdversarySettings& settings, at::IntArrayRef shape,
                             const std::function<at::Tensor(const at::Tensor& perturbation)>& loss);

}  // namespace shoal::nn
