// The assignment of samples to prototypes in SwAV. Internal to this room (libtorch types).
#pragma once

#include <ATen/core/Tensor.h>

namespace shoal::nn {

/// Soft assignments that use all prototypes equally, by Sinkhorn-Knopp (Cuturi 2013): starting from exp(score
/// / epsilon), rescales in turn each prototype to an equal share of the samples and each sample to sum 1.
/// @param scores  [samples, prototypes], finite, some of each; computed in double.
/// Returns [samples, prototypes] in float; every row sums to 1. Has no gradient.
at::Tensor sinkhorn(const at::Tensor& scores, double epsilon, std::int64_t iterations);

}  // namespace shoal::nn
