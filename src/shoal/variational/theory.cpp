#include "shoal/variational/theory.h"

#include <algorithm>
#include <cmath>

#include "shoal/base/error.h"

namespace shoal::variational {
namespace {

[[noreturn]] void no_step(const std::string& why) {
    throw Error(ErrorKind::invalid_argument, "no step size follows from theory: " + why + "; give one");
}

void require_unbiased(const Quality& quality, const char* side) {
    if (!quality.unbiased)
        no_step(std::string("the ") + side +
                " codec is biased (this method is for unbiased ones, as rand_k or qsgd)");
}

void require_contractive(const Quality& quality, const char* side) {
    if (!quality.contractive)
        no_step(std::string("the ") + side +
                " codec does not contract (this method is for those that do, as top_k)");
}

double required_monotonicity(const Setting& setting) {
    const double mu = setting.constants.monotonicity;
    if (mu <= 0) no_step("this method has a guarantee for strongly monotone problems only");
    return mu;
}

/// Variance of the mean of a sample of `drawn` out of `all`, without replacement, over that of one.
double sample_variance(std::size_t drawn, std::size_t all) {
    if (drawn >= all) return 0;
    return static_cast<double>(all - drawn) / (static_cast<double>(drawn) * static_cast<double>(all - 1));
}

double square(double x) {
    return x * x;
}

double batch_lipschitz(const Setting& setting) {
    return setting.batch < setting.components ? setting.constants.component_lipschitz
                                              : setting.constants.device_lipschitz;
}

}  // namespace

double noise_bound(const Setting& setting) {
    require_unbiased(setting.device, "device");
    require_unbiased(setting.server, "server");
    const Constants& constants = setting.constants;
    const double of_messages =
        (setting.device.variance_factor - 1 + sample_variance(setting.batch, setting.components)) *
        square(batch_lipschitz(setting)) / static_cast<double>(setting.senders);
    const double of_senders =
        sample_variance(setting.senders, setting.devices) * square(constants.device_lipschitz);
    return setting.server.variance_factor * (square(constants.lipschitz) + of_messages + of_senders);
}

double refresh_probability(const Setting& setting) {
    const double of_values = setting.device.density;
    const double of_components = static_cast<double>(setting.batch) / static_cast<double>(setting.components);
    const double of_senders = static_cast<double>(setting.senders) / static_cast<double>(setting.devices);
    return std::min({of_values, of_components, 0.5}) * of_senders;
}

double masha1_step(const Setting& setting, double refresh) {
    double step = std::sqrt(refresh) / (2 * std::sqrt(noise_bound(setting)));
    const double mu = setting.constants.monotonicity;
    if (mu > 0) step = std::min({step, refresh / (2 * mu), (1 - refresh) / mu});
    return step;
}

double masha2_step(const Setting& setting, double refresh) {
    require_contractive(setting.device, "device");
    require_contractive(setting.server, "server");
    const double absent = static_cast<double>(setting.devices) / static_cast<double>(setting.senders);
    return std::sqrt(refresh) /
           (4 * setting.device.contraction * absent * setting.server.contraction * batch_lipschitz(setting));
}

double optimistic_step(const Setting& setting, double refresh) {
    return std::sqrt(refresh) / (4 * std::sqrt(noise_bound(setting)));
}

double extragradient_step(const Setting& setting) {
    return 1 / (2 * setting.constants.lipschitz);
}

double quantised_step(const Setting& setting) {
    return std::min(required_monotonicity(setting) / noise_bound(setting), extragradient_step(setting));
}

double error_feedback_step(const Setting& setting) {
    require_contractive(setting.device, "device");
    require_contractive(setting.server, "server");
    return required_monotonicity(setting) / (setting.device.contraction * setting.server.contraction *
                                             square(setting.constants.device_lipschitz));
}

double local_step(const Setting& setting) {
    return required_monotonicity(setting) /
           (static_cast<double>(setting.local_steps) * square(setting.constants.device_lipschitz));
}

double masha1_bound(double step, double monotonicity, std::uint64_t iterations) {
    return 2 * std::pow(1 - step * monotonicity / 2, static_cast<double>(iterations));
}

}  // namespace shoal::variational
