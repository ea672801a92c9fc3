#include "shoal/nn/batch_norm.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/batch_norm.h>
#include <ATen/ops/var_mean.h>

#include "shoal/nn/initialise.h"

namespace shoal::nn {
namespace {

constexpr double kEpsilon = 1e-5;

}  // namespace

BatchNorm::BatchNorm(std::int64_t channels)
    : weight(constant_tensor({channels}, 1)), bias(constant_tensor({channels}, 0)) {}

at::Tensor BatchNorm::operator()(const at::Tensor& x, Normalise how) const {
    if (how == Normalise::by_batch_gathering) gather(x);
    if (how == Normalise::by_gathered && batches_ > 0) {
        const auto batches = static_cast<double>(batches_);
        return at::batch_norm(x, weight, bias, means_ / batches, variances_ / batches, false, 0, kEpsilon,
                              false);
    }
    return at::batch_norm(x, weight, bias, {}, {}, true, 0, kEpsilon, false);
}

void BatchNorm::forget() const {
    batches_ = 0;
}

void BatchNorm::gather(const at::Tensor& x) const {
    const c10::AutoGradMode no_gradients(false);
    std::vector<std::int64_t> all_but_channels;
    for (std::int64_t d = 0; d < x.dim(); ++d)
        if (d != 1) all_but_channels.push_back(d);
    const auto [variance, mean] = at::var_mean(x, all_but_channels, false);
    means_ = batches_ == 0 ? mean : means_ + mean;
    variances_ = batches_ == 0 ? variance : variances_ + variance;
    ++batches_;
}

}  // namespace shoal::nn
