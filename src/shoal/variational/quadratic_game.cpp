#include "shoal/variational/quadratic_game.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>

#include "shoal/base/error.h"

namespace shoal::variational {
namespace {

double square(double x) {
    return x * x;
}

}  // namespace

QuadraticGame::QuadraticGame(const QuadraticGameSettings& settings) : settings_(settings) {
    if (settings.devices == 0 || settings.components == 0 || settings.dimension < 2 ||
        !(settings.monotonicity > 0 && settings.highest >= settings.monotonicity && settings.coupling >= 0))
        throw Error(ErrorKind::invalid_argument,
                    "a quadratic game has a device, a component and two dimensions at least, and eigenvalues "
                    "above 0");
    Random random(settings.seed);
    const std::size_t d = dimension();
    const double of_component = 1 / static_cast<double>(settings.components);
    const double of_device = 1 / static_cast<double>(settings.devices);
    Affine whole{Matrix(d, d), Vector(d, 0.0)};
    const Matrix common = random_orthogonal(settings.dimension, random);
    double squares = 0, component_squares = 0;
    for (std::size_t m = 0; m < settings.devices; ++m) {
        Affine mean{Matrix(d, d), Vector(d, 0.0)};
        std::vector<Affine>& own = components_.emplace_back();
        for (std::size_t i = 0; i < settings.components; ++i) {
            own.push_back(random_component(common, random));
            add_scaled(of_component, own.back().linear.elements(), mean.linear.elements());
            add_scaled(of_component, own.back().constant, mean.constant);
            component_squares += square(spectral_norm(own.back().linear)) * of_component * of_device;
        }
        add_scaled(of_device, mean.linear.elements(), whole.linear.elements());
        add_scaled(of_device, mean.constant, whole.constant);
        squares += square(spectral_norm(mean.linear)) * of_device;
        devices_.push_back(std::move(mean));
    }
    constants_.lipschitz = spectral_norm(whole.linear);
    constants_.device_lipschitz = std::sqrt(squares);
    constants_.component_lipschitz = std::sqrt(component_squares);
    Matrix symmetric(d, d);
    const Matrix other = transposed(whole.linear);
    add_scaled(0.5, whole.linear.elements(), symmetric.elements());
    add_scaled(0.5, other.elements(), symmetric.elements());
    constants_.monotonicity = symmetric_eigenvalues(symmetric).front();
    Vector negative(whole.constant);
    for (double& value : negative) value = -value;
    solution_ = solve(whole.linear, negative);
}

QuadraticGame::Affine QuadraticGame::random_component(const Matrix& common, Random& random) const {
    const std::size_t d = settings_.dimension;
    const auto random_block = [&] {
        std::vector<double> eigenvalues(d);
        for (double& value : eigenvalues)
            value = settings_.monotonicity + (settings_.highest - settings_.monotonicity) * random.uniform();
        eigenvalues.front() = settings_.monotonicity;
        eigenvalues.back() = settings_.highest;
        return random_symmetric(eigenvalues, random);
    };
    const Matrix a = random_block(), c = random_block();
    Matrix b(d, d);
    add_scaled(settings_.coupling / 2, common.elements(), b.elements());
    add_scaled(settings_.coupling / 2, random_orthogonal(d, random).elements(), b.elements());
    Affine component{Matrix(2 * d, 2 * d), Vector(2 * d)};
    for (std::size_t i = 0; i < d; ++i) {
        for (std::size_t j = 0; j < d; ++j) {
            component.linear(i, j) = a(i, j);
            component.linear(i, d + j) = b(i, j);
            component.linear(d + i, j) = -b(j, i);
            component.linear(d + i, d + j) = c(i, j);
        }
    }
    for (double& value : component.constant) value = random.normal();
    return component;
}

std::string QuadraticGame::name() const {
    return fmt::format("quadratic game, {} dimensions, {} components on each of {} devices, mu {:g}, seed {}",
                       dimension(), settings_.components, devices(), settings_.monotonicity, settings_.seed);
}

void QuadraticGame::evaluate(std::size_t device, std::span<const double> z, std::span<double> value) const {
    multiply(devices_[device].linear, z, value);
    add_scaled(1, devices_[device].constant, value);
}

void QuadraticGame::evaluate_batch(std::size_t device, std::span<const std::size_t> batch,
                                   std::span<const double> z, std::span<double> value) const {
    std::fill(value.begin(), value.end(), 0.0);
    const double weight = 1 / static_cast<double>(batch.size());
    for (const std::size_t i : batch) {
        const Affine& component = components_[device][i];
        for (std::size_t row = 0; row < value.size(); ++row)
            value[row] += weight * (dot(component.linear.row(row), z) + component.constant[row]);
    }
}

}  // namespace shoal::variational
