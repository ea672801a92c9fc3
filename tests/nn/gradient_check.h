// Gradients against differences of losses.
#pragma once

#include <cmath>
#include <gtest/gtest.h>
#include <span>
#include <vector>

#include "shoal/base/random.h"
#include "shoal/nn/model.h"

namespace shoal::nn::testing_support {

inline std::vector<float> copy(std::span<const float> values) {
    return {values.begin(), values.end()};
}

/// Moves all parameters a bit, so that none of them has a gradient that is zero by initialisation.
inline void shake(Model& model) {
    Random random(3);
    for (float& value : model.values()) value += static_cast<float>(0.1 * random.normal());
}

/// Within each tensor, the slope along a random direction against the difference of two losses.
inline void expect_gradients_agree(Model& model, const data::Batch& batch) {
    shake(model);
    model.zero_gradients();
    model.forward_backward(batch);
    std::vector<float> gradient(model.size());
    model.read_mean_gradient(gradient);
    const std::vector<float> start = copy(model.values());
    Random random(9);
    for (const Parameter& parameter : model.parameters()) {
        double norm = 0;
        for (std::size_t i = 0; i < parameter.size; ++i) norm += std::pow(gradient[parameter.offset + i], 2);
        norm = std::sqrt(norm);
        // Along the gradient, where single precision can tell the difference, with some noise.
        std::vector<double> direction(parameter.size);
        double slope = 0;
        for (std::size_t i = 0; i < parameter.size; ++i) {
            direction[i] = gradient[parameter.offset + i] / (norm + 1e-9) +
                           0.3 * random.normal() / std::sqrt(static_cast<double>(parameter.size));
            slope += direction[i] * gradient[parameter.offset + i];
        }
        const double step = 2e-3;
        const auto loss_at = [&](double distance) {
            for (std::size_t i = 0; i < parameter.size; ++i) {
                model.values()[parameter.offset + i] =
                    static_cast<float>(start[parameter.offset + i] + distance * direction[i]);
            }
            return model.evaluate(batch);
        };
        const double measured = (loss_at(step) - loss_at(-step)) / (2 * step);
        model.set_values(start);
        EXPECT_NEAR(measured, slope, 0.04 * std::abs(slope) + 4e-4) << parameter.name;
    }
}

}  // namespace shoal::nn::testing_support
