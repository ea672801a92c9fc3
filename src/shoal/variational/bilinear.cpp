#include "shoal/variational/bilinear.h"

#include <cmath>

#include "shoal/base/error.h"

namespace shoal::variational {
namespace {

constexpr double kLowest = 0.1, kHighest = 1;  ///< eigenvalues of the A_m

}  // namespace

Bilinear::Bilinear(const BilinearSettings& settings) : settings_(settings) {
    const std::size_t d = settings.dimension;
    if (settings.devices == 0 || d < 2)
        throw Error(ErrorKind::invalid_argument,
                    "a bilinear problem has a device and two dimensions at least");
    Random random(settings.seed);
    Matrix mean(d, d);
    Vector linear(2 * d, 0.0);
    const double weight = 1 / static_cast<double>(settings.devices);
    for (std::size_t m = 0; m < settings.devices; ++m) {
        Device device;
        if (settings.homogeneous && m > 0) {
            device = devices_.front();
        } else {
            std::vector<double> eigenvalues(d);
            for (double& value : eigenvalues) value = kLowest + (kHighest - kLowest) * random.uniform();
            eigenvalues.front() = kLowest;
            eigenvalues.back() = kHighest;
            device.a = random_symmetric(eigenvalues, random);
            device.linear.resize(2 * d);
            for (double& value : device.linear) value = random.normal();
        }
        add_scaled(weight, device.a.elements(), mean.elements());
        add_scaled(weight, device.linear, linear);
        devices_.push_back(std::move(device));
    }

    const double lambda = settings.regularisation;
    Matrix whole(2 * d, 2 * d);  // F(z) = whole z + linear
    for (std::size_t i = 0; i < d; ++i) {
        whole(i, i) = whole(d + i, d + i) = lambda;
        for (std::size_t j = 0; j < d; ++j) {
            whole(i, d + j) = mean(i, j);
            whole(d + i, j) = -mean(j, i);
        }
    }
    Vector negative(linear);
    for (double& value : negative) value = -value;
    solution_ = solve(whole, negative);

    constants_.lipschitz = std::hypot(spectral_norm(mean), lambda);
    constants_.device_lipschitz = constants_.component_lipschitz = std::hypot(kHighest, lambda);
    constants_.monotonicity = lambda;
}

std::string Bilinear::name() const {
    return std::string(settings_.homogeneous ? "homogeneous" : "heterogeneous") + " bilinear saddle point, " +
           std::to_string(dimension()) + " dimensions on " + std::to_string(devices()) + " devices, seed " +
           std::to_string(settings_.seed);
}

void Bilinear::evaluate(std::size_t device, std::span<const double> z, std::span<double> value) const {
    const Device& own = devices_[device];
    const std::size_t d = settings_.dimension;
    const auto x = z.first(d), y = z.last(d);
    multiply(own.a, y, value.first(d));
    multiply_transposed(own.a, x, value.last(d));
    for (std::size_t i = 0; i < d; ++i) {
        value[i] += own.linear[i] + settings_.regularisation * x[i];
        value[d + i] = own.linear[d + i] + settings_.regularisation * y[i] - value[d + i];
    }
}

}  // namespace shoal::variational
