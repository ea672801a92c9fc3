#include "shoal/optim/optimizer.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "compress/float_inputs.h"
#include "compress/simd_paths.h"

#include "shoal/base/error.h"

namespace shoal::optim {
namespace {

using namespace shoal::test;

OptimizerSettings settings_of(const std::string& name) {
    OptimizerSettings settings;
    settings.name = name;
    return settings;
}

ParameterLayout small_layout() {
    return ParameterLayout(
        {{"weight", {67, 71}, true}, {"bias", {71}, false}, {"scalar", {}, true}, {"none", {0}, true}});
}

/// Parameters and state after a few steps with gradients that a seed decides.
struct Outcome {
    std::vector<float> parameters;
    std::vector<std::vector<float>> state;

    bool operator==(const Outcome& other) const {
        if (!same_bits(parameters, other.parameters) || state.size() != other.state.size()) return false;
        for (std::size_t i = 0; i < state.size(); ++i) {
            if (!same_bits(state[i], other.state[i])) return false;
        }
        return true;
    }
};

Outcome outcome_of(const OptimizerSettings& settings, const ParameterLayout& layout, std::uint64_t seed,
                   int steps) {
    Random random(seed);
    const auto optimizer = make_optimizer(settings, layout);
    Outcome result;
    result.parameters = gradient_like(layout.size(), random, 0.1);
    for (int step = 0; step < steps; ++step) {
        const std::vector<float> gradient =
            gradient_like(layout.size(), random, std::pow(10, random.normal() * 3));
        optimizer->step(static_cast<Step>(step), result.parameters, gradient, 0.01);
    }
    for (const StatePart& part : optimizer->state())
        result.state.emplace_back(part.values.begin(), part.values.end());
    return result;
}

class EveryOptimizer : public testing::TestWithParam<const char*> {
  protected:
    OptimizerSettings settings_ = settings_of(GetParam());
};
INSTANTIATE_TEST_SUITE_P(Optimizers, EveryOptimizer, testing::Values("sgd", "larc", "adamw", "lamb"));

TEST_P(EveryOptimizer, gives_the_same_bits_on_every_path) {
    EXPECT_TRUE(rc::check([this](std::uint64_t seed) {
        Random random(seed);
        settings_.nesterov = settings_.name == "sgd" && random.below(2) == 0;
        settings_.trust_clip = random.below(2) == 0;
        settings_.momentum = settings_.nesterov || random.below(2) == 0 ? 0.9 : 0;
        settings_.weight_decay = random.below(2) == 0 ? 0 : 0.1;
        settings_.bias_correction = random.below(2) == 0;
        const auto rows = static_cast<std::int64_t>(random.below(9));
        const auto columns = static_cast<std::int64_t>(random.below(1100));
        const ParameterLayout layout(
            {{"a", {rows, columns}, true}, {"b", {columns}, false}, {"c", {}, true}});
        const Outcome best = outcome_of(settings_, layout, seed, 3);
        on_every_simd_path(
            [&](const std::string&) { RC_ASSERT(outcome_of(settings_, layout, seed, 3) == best); });
    }));
}

TEST_P(EveryOptimizer, gives_the_same_bits_for_denormal_numbers) {
    const ParameterLayout layout({{"a", {1000}, true}});
    Random random(5);
    const std::vector<float> start = gradient_like(1000, random, 1e-38);
    const std::vector<float> gradient = gradient_like(1000, random, 1e-20);
    const auto stepped = [&] {
        const auto optimizer = make_optimizer(settings_, layout);
        std::vector<float> parameters = start;
        for (int step = 0; step < 3; ++step)
            optimizer->step(static_cast<Step>(step), parameters, gradient, 1e-3);
        return parameters;
    };
    const std::vector<float> best = stepped();
    on_every_simd_path([&](const std::string& path) { EXPECT_TRUE(same_bits(stepped(), best)) << path; });
#if defined(__x86_64__)
    const unsigned before = _mm_getcsr();
    _mm_setcsr(before | 0x8040);  // as a library built with -ffast-math leaves it
    EXPECT_TRUE(same_bits(stepped(), best));
    _mm_setcsr(before);
#endif
}

TEST_P(EveryOptimizer, resumes_from_a_copy_of_its_state) {
    const ParameterLayout layout = small_layout();
    const auto original = make_optimizer(settings_, layout), newcomer = make_optimizer(settings_, layout);
    Random random(6);
    std::vector<float> parameters = gradient_like(layout.size(), random);
    for (int step = 0; step < 5; ++step) {
        original->step(static_cast<Step>(step), parameters, gradient_like(layout.size(), random), 0.01);
    }
    std::vector<float> copied = parameters;
    const auto from = original->state(), to = newcomer->state();
    ASSERT_EQ(from.size(), to.size());
    for (std::size_t i = 0; i < from.size(); ++i) {
        EXPECT_EQ(from[i].name, to[i].name);
        ASSERT_EQ(from[i].values.size(), layout.size());
        std::copy(from[i].values.begin(), from[i].values.end(), to[i].values.begin());
    }
    const std::vector<float> gradient = gradient_like(layout.size(), random);
    original->step(static_cast<Step>(5), parameters, gradient, 0.01);
    newcomer->step(static_cast<Step>(5), copied, gradient, 0.01);
    EXPECT_TRUE(same_bits(parameters, copied));
}

TEST_P(EveryOptimizer, refuses_what_does_not_fit_and_changes_nothing) {
    const auto optimizer = make_optimizer(settings_, small_layout());
    const std::size_t size = small_layout().size();
    std::vector<float> parameters(size, 1.0F), gradient(size, 1.0F), shorter(size - 1, 1.0F);
    EXPECT_THROW(optimizer->step(Step{}, shorter, gradient, 0.1), Error);
    EXPECT_THROW(optimizer->step(Step{}, parameters, shorter, 0.1), Error);
    EXPECT_THROW(optimizer->step(Step{}, parameters, gradient, -0.1), Error);
    EXPECT_THROW(optimizer->step(Step{}, parameters, gradient, NAN), Error);
    EXPECT_THROW(optimizer->step(static_cast<Step>(-1), parameters, gradient, 0.1), Error);
    EXPECT_EQ(parameters, std::vector<float>(size, 1.0F));
    for (const StatePart& part : optimizer->state()) {
        for (const float value : part.values) ASSERT_EQ(value, 0);
    }
}

TEST_P(EveryOptimizer, goes_downhill) {
    settings_.trust = 1;  // larc's own rates are relative to the weights; clipped, they are the schedule's
    settings_.trust_clip = true;
    const ParameterLayout layout({{"x", {10}, false}});
    const auto optimizer = make_optimizer(settings_, layout);
    std::vector<float> x(10, 3.0F), gradient(10);
    for (int step = 0; step < 400; ++step) {
        for (std::size_t i = 0; i < x.size(); ++i) gradient[i] = x[i] - 1;
        optimizer->step(static_cast<Step>(step), x, gradient, 0.01);
    }
    for (const float value : x) EXPECT_NEAR(value, 1, 0.1);
}

TEST_P(EveryOptimizer, decays_only_the_tensors_that_decay) {
    settings_.weight_decay = 0.5;
    const ParameterLayout layout({{"weight", {2}, true}, {"bias", {2}, false}});
    const auto optimizer = make_optimizer(settings_, layout);
    std::vector<float> parameters = {1, 1, 1, 1};
    // Across the weights: what makes them shorter to first order is the decay alone.
    optimizer->step(Step{}, parameters, std::vector<float>{1, -1, 1, -1}, 0.1);
    EXPECT_LT(parameters[0] + parameters[1], 2 - 1e-5);
    EXPECT_NEAR(parameters[2] + parameters[3], 2, 1e-6);
}

TEST_P(EveryOptimizer, leaves_a_frozen_tensor_and_its_state_alone_until_its_step) {
    settings_.weight_decay = 0.5;
    const ParameterLayout layout({{"free", {3}, true}, {"prototypes", {3}, true, 2}});
    const auto optimizer = make_optimizer(settings_, layout);
    std::vector<float> parameters(6, 1.0F);
    const std::vector<float> gradient(6, 0.5F);
    for (int step = 0; step < 2; ++step) {
        optimizer->step(static_cast<Step>(step), parameters, gradient, 0.1);
        EXPECT_LT(parameters[0], 1);
        for (std::size_t i = 3; i < 6; ++i) EXPECT_EQ(parameters[i], 1) << "after step " << step;
    }
    for (const StatePart& part : optimizer->state())
        for (std::size_t i = 3; i < 6; ++i) EXPECT_EQ(part.values[i], 0) << part.name;
    optimizer->step(static_cast<Step>(2), parameters, gradient, 0.1);
    EXPECT_LT(parameters[3], 1);
}

/// The formula in the header, number by number.
struct ScalarLarc {
    OptimizerSettings settings;
    std::vector<float> v;

    double trust_of(std::span<const float> p, std::span<const float> g, double decay, double rate) const {
        double weights = 0, gradients = 0;
        for (const float x : p) weights += static_cast<double>(x) * x;
        for (const float x : g) gradients += static_cast<double>(x) * x;
        const double trust = settings.trust * std::sqrt(weights) /
                             (std::sqrt(gradients) + decay * std::sqrt(weights) + settings.epsilon);
        return settings.trust_clip ? std::min(trust / rate, 1.0) : trust;
    }
    void step(const ParameterLayout& layout, std::vector<float>& p, const std::vector<float>& g,
              double rate) {
        v.resize(p.size());
        for (const PlacedTensor& tensor : layout.tensors()) {
            const std::span<float> weights(p.data() + tensor.offset, tensor.count);
            const std::span<const float> gradient(g.data() + tensor.offset, tensor.count);
            const double decay = tensor.decay ? settings.weight_decay : 0;
            const auto trust = static_cast<float>(trust_of(weights, gradient, decay, rate));
            for (std::size_t i = 0; i < tensor.count; ++i) {
                const float decayed = gradient[i] + static_cast<float>(decay) * weights[i];
                float& velocity = v[tensor.offset + i];
                velocity = static_cast<float>(settings.momentum) * velocity + trust * decayed;
                weights[i] -= static_cast<float>(rate) * velocity;
            }
        }
    }
};

TEST(Larc, follows_its_formula) {
    const ParameterLayout layout({{"weight", {61, 83}, true}, {"bias", {83}, false}});
    for (const bool clipped : {false, true}) {
        ScalarLarc reference{settings_of("larc"), {}};
        reference.settings.weight_decay = 1e-2;
        reference.settings.epsilon = 1e-8;
        reference.settings.trust = 0.02;
        reference.settings.trust_clip = clipped;
        const auto optimizer = make_optimizer(reference.settings, layout);
        Random random(11);
        std::vector<float> own = gradient_like(layout.size(), random, 0.1), expected = own;
        const std::vector<float> start = own;
        for (int step = 0; step < 20; ++step) {
            const double rate = step < 10 ? 2.4 : 1e-3;  // the second is below the tensors' own: clipped
            const auto gradient = gradient_like(layout.size(), random, 0.01);
            optimizer->step(static_cast<Step>(step), own, gradient, rate);
            reference.step(layout, expected, gradient, rate);
        }
        for (std::size_t i = 0; i < own.size(); ++i)
            ASSERT_NEAR(own[i], expected[i], 1e-5 * (1 + std::abs(expected[i]))) << "value " << i;
        EXPECT_FALSE(same_bits(own, start));
    }
}

TEST(Larc, by_hand) {
    OptimizerSettings settings = settings_of("larc");
    settings.trust = 0.5;
    settings.weight_decay = 0.25;
    settings.epsilon = 0;
    settings.momentum = 0.5;
    const auto optimizer = make_optimizer(settings, ParameterLayout({{"w", {2}, true}}));
    std::vector<float> w = {3, 4};
    // ||w|| = 5, ||g|| = 1: t = 0.5 * 5 / (1 + 0.25 * 5); v = t * (g + 0.25 w) = t * {1.75, 1}.
    optimizer->step(Step{}, w, std::vector<float>{1, 0}, 1);
    const double trust = 2.5 / 2.25;
    EXPECT_NEAR(w[0], 3 - trust * 1.75, 1e-6);
    EXPECT_NEAR(w[1], 4 - trust * 1, 1e-6);
}

TEST(Larc, takes_a_plain_step_from_weights_of_zero_and_none_without_a_gradient) {
    OptimizerSettings settings = settings_of("larc");
    settings.weight_decay = 0.5;
    const auto optimizer =
        make_optimizer(settings, ParameterLayout({{"zero", {2}, true}, {"still", {2}, true}}));
    std::vector<float> parameters = {0, 0, 1, 2};
    optimizer->step(Step{}, parameters, std::vector<float>{1, 2, 0, 0}, 0.5);
    EXPECT_EQ(parameters, (std::vector<float>{-0.5F, -1, 1, 2}));
}

TEST(Lamb, clamps_the_norm_of_the_weights) {
    OptimizerSettings settings = settings_of("lamb");
    settings.weight_decay = 0;
    settings.maximum_weight_norm = 10;
    const auto optimizer = make_optimizer(settings, ParameterLayout({{"w", {4}, true}}));
    std::vector<float> parameters(4, 100.0F);
    optimizer->step(Step{}, parameters, std::vector<float>(4, 1.0F), 0.1);
    // u = m / sqrt(v) is the same in all four values, so u / ||u|| is 1 / 2; 10 is the clamped norm.
    const double bias_correction = std::sqrt(1 - 0.999) / (1 - 0.9);
    for (const float value : parameters) EXPECT_NEAR(value, 100 - 0.1 * bias_correction * 10 / 2, 1e-4);
}

TEST(Lamb, has_a_trust_ratio_of_one_for_weights_of_zero) {
    const auto optimizer = make_optimizer(settings_of("lamb"), ParameterLayout({{"w", {4}, true}}));
    std::vector<float> parameters(4, 0.0F);
    optimizer->step(Step{}, parameters, std::vector<float>(4, 1.0F), 0.1);
    for (const float value : parameters) EXPECT_NEAR(value, -0.1, 1e-3);
}

TEST(Sgd, without_momentum_keeps_no_state) {
    OptimizerSettings settings = settings_of("sgd");
    settings.momentum = 0;
    EXPECT_TRUE(make_optimizer(settings, small_layout())->state().empty());
}

TEST(MakeOptimizer, refuses_settings_that_make_no_sense) {
    const auto refused = [](const std::string& name, auto change) {
        OptimizerSettings settings = settings_of(name);
        change(settings);
        try {
            make_optimizer(settings, small_layout());
        } catch (const Error& error) {
            return error.kind() == ErrorKind::invalid_argument;
        }
        return false;
    };
    EXPECT_TRUE(refused("adam", [](OptimizerSettings&) {}));
    EXPECT_TRUE(refused("sgd", [](OptimizerSettings& s) { s.momentum = 1; }));
    EXPECT_TRUE(refused("sgd", [](OptimizerSettings& s) { s.momentum = -0.1; }));
    EXPECT_TRUE(refused("sgd", [](OptimizerSettings& s) { s.momentum = 0, s.nesterov = true; }));
    EXPECT_TRUE(refused("adamw", [](OptimizerSettings& s) { s.weight_decay = -1; }));
    EXPECT_TRUE(refused("adamw", [](OptimizerSettings& s) { s.weight_decay = INFINITY; }));
    EXPECT_TRUE(refused("adamw", [](OptimizerSettings& s) { s.betas[1] = 1; }));
    EXPECT_TRUE(refused("lamb", [](OptimizerSettings& s) { s.betas[0] = NAN; }));
    EXPECT_TRUE(refused("lamb", [](OptimizerSettings& s) { s.epsilon = 0; }));
    EXPECT_TRUE(refused("lamb", [](OptimizerSettings& s) { s.epsilon = 1e-300; }));
    EXPECT_TRUE(refused("lamb", [](OptimizerSettings& s) { s.maximum_weight_norm = 0; }));
    EXPECT_FALSE(refused("lamb", [](OptimizerSettings& s) { s.betas = {0, 0}; }));
    EXPECT_TRUE(refused("larc", [](OptimizerSettings& s) { s.nesterov = true; }));
    EXPECT_TRUE(refused("larc", [](OptimizerSettings& s) { s.momentum = 1; }));
    EXPECT_TRUE(refused("larc", [](OptimizerSettings& s) { s.trust = 0; }));
    EXPECT_TRUE(refused("larc", [](OptimizerSettings& s) { s.trust = NAN; }));
    EXPECT_TRUE(refused("larc", [](OptimizerSettings& s) { s.epsilon = -1; }));
    EXPECT_FALSE(refused("larc", [](OptimizerSettings& s) { s.epsilon = 0, s.momentum = 0; }));
}

}  // namespace
}  // namespace shoal::optim
