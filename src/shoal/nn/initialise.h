// Initial parameters from our own generator, so that every machine starts with the same bits. Internal to
// this room (libtorch types).
#pragma once

#include <ATen/core/Tensor.h>

#include "shoal/base/random.h"

namespace shoal::nn {

/// A new fp32 tensor of N(0, deviation) numbers.
at::Tensor normal_tensor(at::IntArrayRef shape, double deviation, Random& random);

/// A new fp32 tensor, all elements equal.
at::Tensor constant_tensor(at::IntArrayRef shape, float value);

}  // namespace shoal::nn
