// Policeman and burglar (Nemirovski): there are n houses; the burglar picks one, the policeman waits near
// one. The burglar gets the wealth of the house unless he is caught, with probability exp(-theta distance):
//
//   min over y in simplex, max over x in simplex:  x^T A y,   A_ij = w_i (1 - exp(-theta |i - j|))
//
// x: mixed strategy of the burglar, y: that of the policeman. The devices know different wealths, and A is
// the average. A bilinear game on two simplices: merely monotone, with projections as proximal steps.
#pragma once

#include "shoal/variational/matrix.h"
#include "shoal/variational/problem.h"

namespace shoal::variational {

struct BurglarSettings {
    std::size_t devices = 10;
    std::size_t houses = 50;
    double theta = 0.8;
    std::uint64_t seed = 1;
};

class PolicemanAndBurglar final : public Problem {
  public:
    /// w_i is |standard normal|, anew for each device, scaled so that the largest ||A_m|| is 1.
    explicit PolicemanAndBurglar(const BurglarSettings& settings);

    std::string name() const override;
    std::size_t dimension() const override { return 2 * settings_.houses; }
    std::size_t devices() const override { return settings_.devices; }
    /// z = (y, x)
    void evaluate(std::size_t device, std::span<const double> z, std::span<double> value) const override;
    bool has_prox() const override { return true; }
    void prox(double step, std::span<double> z) const override;
    std::optional<Constants> constants() const override { return constants_; }
    /// The burglar picks the first house, and there the policeman waits.
    Vector start() const override;
    /// The duality gap: what the burglar could gain and the policeman save by the best answer to the other's
    /// strategy.
    std::optional<double> gap(std::span<const double> z) const override;

  private:
    const BurglarSettings settings_;
    std::vector<Matrix> payoffs_;  // A_m
    Matrix mean_;
    Constants constants_;
};

/// The nearest point with elements >= 0 that sum to 1.
void project_on_simplex(std::span<double> point);

}  // namespace shoal::variational
