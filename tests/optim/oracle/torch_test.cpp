// libtorch is the oracle: the optimizers against torch::optim, and LAMB against its formula in tensor
// operations.
#include <functional>
#include <gtest/gtest.h>
#include <torch/torch.h>

#include "shoal/base/random.h"
#include "shoal/optim/optimizer.h"

namespace shoal::optim {
namespace {

const ParameterLayout kLayout({{"weight", {37, 53}, true}, {"bias", {53}, false}});

constexpr int kSteps = 50;
constexpr double kRate = 0.01;

/// The same parameters and gradients for both sides: one tensor for each of the layout.
struct Problem {
    std::vector<float> flat;
    std::vector<torch::Tensor> tensors;
    Random random{42};

    Problem() : flat(kLayout.size()) {
        for (float& value : flat) value = static_cast<float>(random.normal());
        tensors = split(flat);
        for (torch::Tensor& tensor : tensors) tensor.requires_grad_(true);
    }

    std::vector<torch::Tensor> split(const std::vector<float>& values) const {
        std::vector<torch::Tensor> result;
        for (const PlacedTensor& tensor : kLayout.tensors()) {
            result.push_back(torch::tensor(at::ArrayRef<float>(values.data() + tensor.offset, tensor.count))
                                 .clone()
                                 .view(tensor.shape));
        }
        return result;
    }

    std::vector<float> next_gradient() {
        std::vector<float> gradient(flat.size());
        for (float& value : gradient) value = static_cast<float>(random.normal() * 0.3);
        const auto parts = split(gradient);
        for (std::size_t i = 0; i < parts.size(); ++i) tensors[i].mutable_grad() = parts[i];
        return gradient;
    }

    void expect_equal(double tolerance) const {
        const auto own = split(flat);
        for (std::size_t i = 0; i < own.size(); ++i) {
            EXPECT_LE((own[i] - tensors[i]).abs().max().item<double>(), tolerance) << "tensor " << i;
        }
    }
};

/// One parameter group for each tensor, as weight decay differs.
template <class Options>
std::vector<torch::optim::OptimizerParamGroup> groups(const Problem& problem, const Options& options,
                                                      double decay) {
    std::vector<torch::optim::OptimizerParamGroup> result;
    for (std::size_t i = 0; i < problem.tensors.size(); ++i) {
        auto own = std::make_unique<Options>(options);
        own->weight_decay(kLayout.tensors()[i].decay ? decay : 0);
        result.emplace_back(std::vector<torch::Tensor>{problem.tensors[i]}, std::move(own));
    }
    return result;
}

void compare(const OptimizerSettings& settings, Problem& problem,
             const std::function<void(int)>& torch_step) {
    const auto optimizer = make_optimizer(settings, kLayout);
    for (int step = 0; step < kSteps; ++step) {
        const std::vector<float> gradient = problem.next_gradient();
        optimizer->step(static_cast<Step>(step), problem.flat, gradient, kRate);
        torch_step(step);
        problem.expect_equal(1e-6);
        if (testing::Test::HasFailure()) FAIL() << "at step " << step;
    }
}

class SgdAgainstTorch : public testing::TestWithParam<std::tuple<double, bool, double>> {};
INSTANTIATE_TEST_SUITE_P(Settings, SgdAgainstTorch,
                         testing::Values(std::tuple(0.0, false, 0.0), std::tuple(0.0, false, 0.1),
                                         std::tuple(0.9, false, 0.0), std::tuple(0.9, false, 0.1),
                                         std::tuple(0.9, true, 0.1)));

TEST_P(SgdAgainstTorch, agrees) {
    OptimizerSettings settings;
    settings.name = "sgd";
    std::tie(settings.momentum, settings.nesterov, settings.weight_decay) = GetParam();
    Problem problem;
    const auto options =
        torch::optim::SGDOptions(kRate).momentum(settings.momentum).nesterov(settings.nesterov);
    torch::optim::SGD oracle(groups(problem, options, settings.weight_decay), options);
    compare(settings, problem, [&](int) { oracle.step(); });
}

class LarcAgainstTorch : public testing::TestWithParam<bool> {};
INSTANTIATE_TEST_SUITE_P(Clip, LarcAgainstTorch, testing::Bool());

/// torch's SGD on gradients that are decayed and scaled for each tensor.
TEST_P(LarcAgainstTorch, agrees) {
    OptimizerSettings settings;
    settings.name = "larc";
    settings.epsilon = 1e-8;
    settings.weight_decay = 0.1;
    settings.trust = 0.02;
    settings.trust_clip = GetParam();
    Problem problem;
    const auto options = torch::optim::SGDOptions(kRate).momentum(settings.momentum);
    torch::optim::SGD oracle(problem.tensors, options);
    compare(settings, problem, [&](int) {
        for (std::size_t i = 0; i < problem.tensors.size(); ++i) {
            const torch::NoGradGuard no_gradient;
            const torch::Tensor p = problem.tensors[i], g = p.grad();
            const double decay = kLayout.tensors()[i].decay ? 0.1 : 0, norm = p.norm().item<double>();
            double trust = 0.02 * norm / (g.norm().item<double>() + decay * norm + 1e-8);
            if (settings.trust_clip) trust = std::min(trust / kRate, 1.0);
            problem.tensors[i].mutable_grad() = (g + decay * p) * trust;
        }
        oracle.step();
    });
}

TEST(AdamWAgainstTorch, agrees) {
    OptimizerSettings settings;
    settings.name = "adamw";
    settings.betas = {0.9, 0.98};
    settings.epsilon = 1e-8;
    settings.weight_decay = 0.1;
    Problem problem;
    const auto options = torch::optim::AdamWOptions(kRate).betas({0.9, 0.98}).eps(1e-8);
    torch::optim::AdamW oracle(groups(problem, options, settings.weight_decay), options);
    compare(settings, problem, [&](int) { oracle.step(); });
}

class LambAgainstFormula : public testing::TestWithParam<std::tuple<bool, double>> {};
INSTANTIATE_TEST_SUITE_P(Settings, LambAgainstFormula,
                         testing::Values(std::tuple(true, 10000.0), std::tuple(false, 10000.0),
                                         std::tuple(true, 3.0)));

TEST_P(LambAgainstFormula, agrees) {
    OptimizerSettings settings;
    std::tie(settings.bias_correction, settings.maximum_weight_norm) = GetParam();
    settings.weight_decay = 0.1;
    Problem problem;
    std::vector<torch::Tensor> m, v;
    for (const torch::Tensor& tensor : problem.tensors) {
        m.push_back(torch::zeros_like(tensor));
        v.push_back(torch::zeros_like(tensor));
    }
    compare(settings, problem, [&](int step) {
        const torch::NoGradGuard no_gradient;
        for (std::size_t i = 0; i < m.size(); ++i) {
            torch::Tensor p = problem.tensors[i];
            const torch::Tensor g = p.grad();
            m[i] = 0.9 * m[i] + 0.1 * g;
            v[i] = 0.999 * v[i] + 0.001 * g * g;
            torch::Tensor u = m[i] / (v[i].sqrt() + 1e-6);
            if (kLayout.tensors()[i].decay) u += 0.1 * p;
            const double weight_norm = std::min(p.norm().item<double>(), settings.maximum_weight_norm);
            const double ratio = weight_norm / u.norm().item<double>();
            const double correction = settings.bias_correction ? std::sqrt(1 - std::pow(0.999, step + 1)) /
                                                                     (1 - std::pow(0.9, step + 1))
                                                               : 1;
            p -= kRate * correction * ratio * u;
        }
    });
}

TEST(ClipAgainstTorch, agrees) {
    Problem problem;
    std::vector<float> gradient = problem.next_gradient();
    const double own = clip_gradient_norm(gradient, 2.5);
    const double oracle = torch::nn::utils::clip_grad_norm_(problem.tensors, 2.5);
    EXPECT_NEAR(own, oracle, 1e-5 * oracle);
    const auto clipped = problem.split(gradient);
    for (std::size_t i = 0; i < clipped.size(); ++i) {
        EXPECT_LE((clipped[i] - problem.tensors[i].grad()).abs().max().item<double>(), 1e-6);
    }
}

}  // namespace
}  // namespace shoal::optim
