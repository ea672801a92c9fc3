// A strongly monotone quadratic game, the average of the components of all devices:
//
//   min_x max_y  (1/2) x^T A x + x^T B y - (1/2) y^T C y + a^T x - b^T y
//
// with A, C symmetric, their eigenvalues in [mu, l], and B half the same everywhere, half different in every
// component.
#pragma once

#include "shoal/variational/matrix.h"
#include "shoal/variational/problem.h"

namespace shoal::variational {

struct QuadraticGameSettings {
    std::size_t devices = 10;
    std::size_t components = 10;  ///< of each device
    std::size_t dimension = 50;   ///< of x and of y
    double monotonicity = 0.01;   ///< the lowest eigenvalue of each A and C
    double highest = 0.04;        ///< the highest
    double coupling = 1;          ///< of each B: no singular value is larger
    std::uint64_t seed = 1;
};

class QuadraticGame final : public Problem {
  public:
    explicit QuadraticGame(const QuadraticGameSettings& settings);

    std::string name() const override;
    std::size_t dimension() const override { return 2 * settings_.dimension; }
    std::size_t devices() const override { return settings_.devices; }
    void evaluate(std::size_t device, std::span<const double> z, std::span<double> value) const override;
    std::size_t components(std::size_t) const override { return settings_.components; }
    void evaluate_batch(std::size_t device, std::span<const std::size_t> batch, std::span<const double> z,
                        std::span<double> value) const override;
    std::optional<Constants> constants() const override { return constants_; }
    std::optional<Vector> solution() const override { return solution_; }

  private:
    /// G z + g
    struct Affine {
        Matrix linear;
        Vector constant;
    };
    Affine random_component(const Matrix& common, Random& random) const;

    const QuadraticGameSettings settings_;
    std::vector<std::vector<Affine>> components_;  // by device
    std::vector<Affine> devices_;
    Constants constants_;
    Vector solution_;
};

}  // namespace shoal::variational
