#include "shoal/variational/robust_regression.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>

#include "shoal/base/error.h"

namespace shoal::variational {
namespace {

double square(double x) {
    return x * x;
}

void centre_features(Samples& samples) {
    const std::size_t count = samples.features.rows();
    Vector mean(samples.features.columns(), 0.0);
    for (std::size_t n = 0; n < count; ++n)
        add_scaled(1 / static_cast<double>(count), samples.features.row(n), mean);
    for (std::size_t n = 0; n < count; ++n) add_scaled(-1, mean, samples.features.row(n));
}

/// Of the part of the operator that belongs to samples, and of the adversary, where ||w||, ||r|| <= region.
double lipschitz_bound(const RegressionSettings& settings, double second, double mean, double target) {
    const double region = settings.region;
    const double of_weights = second + 2 * region * mean + square(region) + settings.regularisation;
    const double of_shift = std::max(settings.penalty, square(region));
    const double between = (mean + region) * region + region * mean + square(region) + target;
    return std::max(of_weights, of_shift) + between;
}

}  // namespace

void normalise(Samples& samples) {
    centre_features(samples);
    const std::size_t count = samples.features.rows(), d = samples.features.columns();
    Matrix covariance(d, d);
    double mean_square = 0;
    for (std::size_t n = 0; n < count; ++n) {
        const auto x = samples.features.row(n);
        for (std::size_t i = 0; i < d; ++i)
            add_scaled(x[i] / static_cast<double>(count), x, covariance.row(i));
        mean_square += square(samples.targets[n]) / static_cast<double>(count);
    }
    const double largest = d == 0 ? 0 : symmetric_eigenvalues(covariance).back();
    if (!(largest > 0) || !(mean_square > 0))
        throw Error(ErrorKind::bad_input, samples.name + ": all features are the same, or all targets are 0");
    for (double& element : samples.features.elements()) element /= std::sqrt(largest);
    for (double& target : samples.targets) target /= std::sqrt(mean_square);
}

RobustRegression::RobustRegression(Samples samples, const RegressionSettings& settings)
    : samples_(std::move(samples)), settings_(settings) {
    const std::size_t count = samples_.features.rows(), d = samples_.features.columns();
    if (settings.devices == 0 || count < settings.devices || d == 0)
        throw Error(ErrorKind::bad_input,
                    fmt::format("{}: {} samples of {} features are too few for {} devices", samples_.name,
                                count, d, settings.devices));
    if (samples_.targets.size() != count || !is_finite(samples_.features.elements()) ||
        !is_finite(samples_.targets))
        throw Error(ErrorKind::bad_input, samples_.name + ": a number is missing or not finite");
    per_device_ = count / settings.devices;
    const double weight = 1 / static_cast<double>(per_device_);
    for (std::size_t m = 0; m < settings.devices; ++m) {
        Moments moments{Matrix(d, d), Vector(d, 0.0), Vector(d, 0.0)};
        for (std::size_t n = m * per_device_; n < (m + 1) * per_device_; ++n) {
            const auto x = samples_.features.row(n);
            for (std::size_t i = 0; i < d; ++i) add_scaled(weight * x[i], x, moments.second.row(i));
            add_scaled(weight, x, moments.mean);
            add_scaled(weight * samples_.targets[n], x, moments.with_target);
            moments.target += weight * samples_.targets[n];
        }
        moments_.push_back(std::move(moments));
    }
    constants_ = bounds();
}

Constants RobustRegression::bounds() const {
    const std::size_t d = samples_.features.columns();
    const double weight = 1 / static_cast<double>(settings_.devices);
    Matrix second(d, d);
    Vector mean(d, 0.0);
    double target = 0, squares = 0, of_samples = 0;
    for (const Moments& one : moments_) {
        add_scaled(weight, one.second.elements(), second.elements());
        add_scaled(weight, one.mean, mean);
        target += weight * one.target;
        squares += weight * square(lipschitz_bound(settings_, symmetric_eigenvalues(one.second).back(),
                                                   norm(one.mean), std::abs(one.target)));
    }
    const std::size_t used = per_device_ * settings_.devices;
    for (std::size_t n = 0; n < used; ++n) {
        const double length = norm(samples_.features.row(n));
        of_samples +=
            square(lipschitz_bound(settings_, square(length), length, std::abs(samples_.targets[n])));
    }
    Constants constants;
    const std::vector<double> eigenvalues = symmetric_eigenvalues(second);
    constants.lipschitz = lipschitz_bound(settings_, eigenvalues.back(), norm(mean), std::abs(target));
    constants.device_lipschitz = std::sqrt(squares);
    constants.component_lipschitz = std::sqrt(of_samples / static_cast<double>(used));
    // Symmetric part of the derivative: second moments of the shifted features for w, beta - w w^T for r.
    constants.monotonicity =
        std::max(0.0, std::min(settings_.regularisation, settings_.penalty - square(settings_.region)));
    return constants;
}

std::string RobustRegression::name() const {
    return fmt::format("robust regression on {}, {} samples of {} features on {} devices", samples_.name,
                       per_device_ * settings_.devices, samples_.features.columns(), devices());
}

void RobustRegression::add_rest(std::span<const double> z, std::span<double> value) const {
    const std::size_t d = samples_.features.columns();
    add_scaled(settings_.regularisation, z.first(d), value.first(d));
    add_scaled(settings_.penalty, z.last(d), value.last(d));
}

void RobustRegression::evaluate(std::size_t device, std::span<const double> z,
                                std::span<double> value) const {
    // The mean over samples of e (x + r) and of -e w, where e = w^T (x + r) - y, multiplied out.
    const std::size_t d = samples_.features.columns();
    const Moments& own = moments_[device];
    const auto w = z.first(d), r = z.last(d);
    const double shifted = dot(w, r), error = dot(w, own.mean) + shifted - own.target;
    multiply(own.second, w, value.first(d));
    for (std::size_t i = 0; i < d; ++i) {
        value[i] += shifted * own.mean[i] - own.with_target[i] + error * r[i];
        value[d + i] = -error * w[i];
    }
    add_rest(z, value);
}

void RobustRegression::add_sample(std::size_t sample, double weight, std::span<const double> z,
                                  std::span<double> value) const {
    const std::size_t d = samples_.features.columns();
    const auto w = z.first(d), r = z.last(d), x = samples_.features.row(sample);
    const double error = dot(w, x) + dot(w, r) - samples_.targets[sample];
    for (std::size_t i = 0; i < d; ++i) {
        value[i] += weight * error * (x[i] + r[i]);
        value[d + i] -= weight * error * w[i];
    }
}

void RobustRegression::evaluate_batch(std::size_t device, std::span<const std::size_t> batch,
                                      std::span<const double> z, std::span<double> value) const {
    std::fill(value.begin(), value.end(), 0.0);
    const double weight = 1 / static_cast<double>(batch.size());
    for (const std::size_t i : batch) add_sample(device * per_device_ + i, weight, z, value);
    add_rest(z, value);
}

void RobustRegression::prox(double /*step*/, std::span<double> z) const {
    const std::span<double> shift = z.last(samples_.features.columns());
    const double length = norm(shift);
    if (settings_.radius <= 0 || length <= settings_.radius) return;
    for (double& value : shift) value *= settings_.radius / length;
}

double RobustRegression::loss(std::span<const double> weights, std::span<const double> shift) const {
    double sum = 0;
    const double shifted = dot(weights, shift);
    for (std::size_t n = 0; n < samples_.features.rows(); ++n)
        sum += square(dot(weights, samples_.features.row(n)) + shifted - samples_.targets[n]);
    return sum / static_cast<double>(samples_.features.rows());
}

}  // namespace shoal::variational
