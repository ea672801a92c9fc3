// The bilinear saddle point of the paper:
//
//   min_x max_y  (1/M) sum_m ( x^T A_m y + a_m^T x + b_m^T y ) + (lambda/2) (||x||^2 - ||y||^2)
//
// Its field turns around the solution, so steps along the operator lead away from it.
#pragma once

#include "shoal/variational/matrix.h"
#include "shoal/variational/problem.h"

namespace shoal::variational {

struct BilinearSettings {
    std::size_t devices = 10;
    std::size_t dimension = 100;   ///< of x and of y
    double regularisation = 1e-5;  ///< lambda; the largest ||A_m|| is 1
    bool homogeneous = false;      ///< all devices have the same A, a and b with F_m(z*) = 0
    std::uint64_t seed = 1;
};

class Bilinear final : public Problem {
  public:
    /// A_m = Q_m diag(u) Q_m^T with Q_m random orthogonal and u uniform in [0.1, 1], its ends among them; a_m
    /// and b_m standard normal.
    explicit Bilinear(const BilinearSettings& settings);

    std::string name() const override;
    std::size_t dimension() const override { return 2 * settings_.dimension; }
    std::size_t devices() const override { return settings_.devices; }
    void evaluate(std::size_t device, std::span<const double> z, std::span<double> value) const override;
    std::optional<Constants> constants() const override { return constants_; }
    std::optional<Vector> solution() const override { return solution_; }

  private:
    struct Device {
        Matrix a;
        Vector linear;  // (a_m, -b_m)
    };
    const BilinearSettings settings_;
    std::vector<Device> devices_;
    Constants constants_;
    Vector solution_;
};

}  // namespace shoal::variational
