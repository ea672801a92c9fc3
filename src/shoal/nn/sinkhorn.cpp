#include "shoal/nn/sinkhorn.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/logsumexp.h>
#include <cmath>

namespace shoal::nn {

at::Tensor sinkhorn(const at::Tensor& scores, double epsilon, std::int64_t iterations) {
    const c10::AutoGradMode no_gradients(false);
    // In logarithms, where exp(1 / 0.001) is a number like others.
    at::Tensor q = scores.detach().to(at::kDouble) / epsilon;
    const double log_share = std::log(static_cast<double>(q.size(0)) / static_cast<double>(q.size(1)));
    for (std::int64_t i = 0; i < iterations; ++i) {
        q = q - at::logsumexp(q, {0}, true) + log_share;
        q = q - at::logsumexp(q, {1}, true);
    }
    return q.exp().to(at::kFloat);
}

}  // namespace shoal::nn
