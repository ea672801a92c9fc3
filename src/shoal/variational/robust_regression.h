// Robust linear regression: the weights are fitted while an adversary shifts the features of all samples,
//
//   min_w max_r  (1/2N) sum_n ( w^T (x_n + r) - y_n )^2 + (lambda/2) ||w||^2 - (beta/2) ||r||^2,  ||r|| <= e
//
// The samples are divided over devices, and each sample is a component.
#pragma once

#include "shoal/variational/matrix.h"
#include "shoal/variational/problem.h"

namespace shoal::variational {

/// Features and targets, one row and one number a sample.
struct Samples {
    Matrix features;
    Vector targets;
    std::string name;  ///< where they come from
};

/// Shifts each feature to mean 0, and scales all alike, so that the largest eigenvalue of their covariance
/// is 1. Targets are scaled to mean square 1, and keep their mean: the shift, which moves all predictions
/// alike, plays for it. Throws Error(bad_input) if all features or all targets are 0.
void normalise(Samples& samples);

struct RegressionSettings {
    std::size_t devices = 10;
    double regularisation = 0.1;  ///< lambda
    double penalty = 2;           ///< beta; above ||w||^2 the problem is strongly concave in r
    double radius = 0;            ///< e; 0: no bound
    /// Constants hold where ||w|| and ||r|| are no larger than this.
    double region = 1;
};

class RobustRegression final : public Problem {
  public:
    /// Gives device m the m-th part of the samples, in their order; parts of equal size, what is left over
    /// (fewer samples than devices) is dropped. Throws Error(bad_input) if there are fewer samples than
    /// devices or a number is not finite.
    RobustRegression(Samples samples, const RegressionSettings& settings);

    std::string name() const override;
    std::size_t dimension() const override { return 2 * samples_.features.columns(); }
    std::size_t devices() const override { return settings_.devices; }
    /// z = (w, r)
    void evaluate(std::size_t device, std::span<const double> z, std::span<double> value) const override;
    std::size_t components(std::size_t) const override { return per_device_; }
    void evaluate_batch(std::size_t device, std::span<const std::size_t> batch, std::span<const double> z,
                        std::span<double> value) const override;
    bool has_prox() const override { return settings_.radius > 0; }
    void prox(double step, std::span<double> z) const override;
    std::optional<Constants> constants() const override { return constants_; }

    std::optional<Vector> solution() const override { return solution_; }
    /// For whoever has found it.
    void set_solution(Vector solution) { solution_ = std::move(solution); }

    /// Mean squared error of these weights on features that are shifted by r.
    double loss(std::span<const double> weights, std::span<const double> shift) const;

  private:
    void add_sample(std::size_t sample, double weight, std::span<const double> z,
                    std::span<double> value) const;
    void add_rest(std::span<const double> z, std::span<double> value) const;
    Constants bounds() const;

    const Samples samples_;
    const RegressionSettings settings_;
    std::size_t per_device_ = 0;
    // By device, so that a whole operator costs no more than d^2: X^T X / n, the mean of x, of y, of x y.
    struct Moments {
        Matrix second;
        Vector mean, with_target;
        double target = 0;
    };
    std::vector<Moments> moments_;
    Constants constants_;
    std::optional<Vector> solution_;
};

}  // namespace shoal::variational
