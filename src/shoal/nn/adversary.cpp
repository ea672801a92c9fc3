#include "shoal/nn/adversary.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/zeros.h>
#include <cmath>
#include <limits>

#include "shoal/base/error.h"

namespace shoal::nn {
namespace {

/// Norms by sample, in the form that divides a tensor of [samples, ...]. What is 0 stays so.
at::Tensor norms_of(const at::Tensor& x) {
    std::vector<std::int64_t> shape(static_cast<std::size_t>(x.dim()), 1);
    shape.front() = x.size(0);
    return x.view({x.size(0), -1}).norm(2, 1).clamp_min(std::numeric_limits<float>::min()).view(shape);
}

}  // namespace

void check(const AdversarySettings& settings) {
    if (!(settings.radius >= 0 && std::isfinite(settings.radius)))
        throw Error(ErrorKind::invalid_argument, "the adversary's radius must be 0 or more");
    if (!(settings.rate > 0 && std::isfinite(settings.rate)))
        throw Error(ErrorKind::invalid_argument, "the adversary's rate must be above 0");
    if (settings.steps < 1 || settings.steps > 100)
        throw Error(ErrorKind::invalid_argument, "the adversary's steps must be 1 to 100");
}

at::Tensor find_perturbation(const AdversarySettings& settings, at::IntArrayRef shape,
                             const std::function<at::Tensor(const at::Tensor& perturbation)>& loss) {
    at::Tensor perturbation = at::zeros(shape, at::kFloat);
    for (std::int64_t step = 0; step < settings.steps; ++step) {
        at::Tensor leaf = perturbation.detach().requires_grad_(true);
        {
            const c10::AutoGradMode with_gradients(true);
            // The parameters' gradients stay as they are.
            loss(leaf).backward({}, c10::nullopt, false, at::TensorList(leaf));
        }
        const c10::AutoGradMode no_gradients(false);
        const at::Tensor gradient = leaf.grad();
        perturbation = leaf.detach() + gradient / norms_of(gradient) * (settings.rate * settings.radius);
        perturbation = perturbation * (settings.radius / norms_of(perturbation)).clamp_max(1);
    }
    return perturbation;
}

}  // namespace shoal::nn
