#include "shoal/nn/initialise.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>

namespace shoal::nn {

at::Tensor normal_tensor(at::IntArrayRef shape, double deviation, Random& random) {
    at::Tensor tensor = at::empty(shape, at::kFloat);
    float* const values = tensor.data_ptr<float>();
    for (std::int64_t i = 0; i < tensor.numel(); ++i)
        values[i] = static_cast<float>(deviation * random.normal());
    return tensor;
}

at::Tensor constant_tensor(at::IntArrayRef shape, float value) {
    return at::full(shape, value, at::kFloat);
}

}  // namespace shoal::nn
