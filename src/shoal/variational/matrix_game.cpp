#include "shoal/variational/matrix_game.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <functional>

#include "shoal/base/error.h"

namespace shoal::variational {

void project_on_simplex(std::span<double> point) {
    // All elements go down by one threshold, and to 0 where that would make them negative.
    std::vector<double> sorted(point.begin(), point.end());
    std::sort(sorted.begin(), sorted.end(), std::greater<>());
    double sum = 0, threshold = 0;
    for (std::size_t i = 0; i < sorted.size(); ++i) {
        sum += sorted[i];
        const double candidate = (sum - 1) / static_cast<double>(i + 1);
        if (candidate >= sorted[i]) break;
        threshold = candidate;
    }
    for (double& value : point) value = std::max(0.0, value - threshold);
}

PolicemanAndBurglar::PolicemanAndBurglar(const BurglarSettings& settings) : settings_(settings) {
    if (settings.devices == 0 || settings.houses < 2 || !(settings.theta > 0))
        throw Error(ErrorKind::invalid_argument, "there must be a device, two houses and theta above 0");
    const std::size_t n = settings.houses;
    Random random(settings.seed);
    double largest = 0;
    std::vector<double> norms;
    for (std::size_t m = 0; m < settings.devices; ++m) {
        Matrix payoff(n, n);
        for (std::size_t i = 0; i < n; ++i) {
            const double wealth = std::abs(random.normal());
            for (std::size_t j = 0; j < n; ++j) {
                const double distance = static_cast<double>(i > j ? i - j : j - i);
                payoff(i, j) = wealth * (1 - std::exp(-settings.theta * distance));
            }
        }
        norms.push_back(spectral_norm(payoff));
        largest = std::max(largest, norms.back());
        payoffs_.push_back(std::move(payoff));
    }
    mean_ = Matrix(n, n);
    double squares = 0;
    for (std::size_t m = 0; m < settings.devices; ++m) {
        for (double& element : payoffs_[m].elements()) element /= largest;
        add_scaled(1 / static_cast<double>(settings.devices), payoffs_[m].elements(), mean_.elements());
        squares += norms[m] * norms[m] / (largest * largest);
    }
    constants_.lipschitz = spectral_norm(mean_);
    constants_.device_lipschitz = constants_.component_lipschitz =
        std::sqrt(squares / static_cast<double>(settings.devices));
}

std::string PolicemanAndBurglar::name() const {
    return fmt::format("policeman and burglar, {} houses on {} devices, seed {}", settings_.houses, devices(),
                       settings_.seed);
}

void PolicemanAndBurglar::evaluate(std::size_t device, std::span<const double> z,
                                   std::span<double> value) const {
    const std::size_t n = settings_.houses;
    multiply_transposed(payoffs_[device], z.last(n), value.first(n));
    multiply(payoffs_[device], z.first(n), value.last(n));
    for (double& element : value.last(n)) element = -element;
}

void PolicemanAndBurglar::prox(double /*step*/, std::span<double> z) const {
    project_on_simplex(z.first(settings_.houses));
    project_on_simplex(z.last(settings_.houses));
}

Vector PolicemanAndBurglar::start() const {
    Vector start(dimension(), 0.0);
    start.front() = start[settings_.houses] = 1;
    return start;
}

std::optional<double> PolicemanAndBurglar::gap(std::span<const double> z) const {
    const std::size_t n = settings_.houses;
    Vector burglar(n), policeman(n);
    multiply(mean_, z.first(n), burglar);
    multiply_transposed(mean_, z.last(n), policeman);
    return *std::max_element(burglar.begin(), burglar.end()) -
           *std::min_element(policeman.begin(), policeman.end());
}

}  // namespace shoal::variational
