// A variational inequality whose operator is an average over devices: find z* in Z with
//
//   <F(z*), z - z*> + h(z) - h(z*) >= 0  for all z,    F(z) = (1/M) sum_m F_m(z),
//
// where device m alone can evaluate F_m. Minimisation is F = grad f; a saddle point min_x max_y g(x, y) is
// F(x, y) = (grad_x g, -grad_y g). F_m may itself be an average over components (samples of the device):
// methods that reduce the variance of batches evaluate only some of them. Where h is not 0, methods step
// through its proximal operator.
//
// Const functions are called from any thread, several at a time.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "shoal/variational/vectors.h"

namespace shoal::variational {

/// What the theory asks of a problem. Step sizes follow from these (theory.h).
struct Constants {
    double lipschitz = 0;  ///< L: of F
    /// L~: root of the mean of the squares of the L_m, of which F_m is L_m-Lipschitz
    double device_lipschitz = 0;
    /// The same over the components of all devices: ||F_{m,i}(u) - F_{m,i}(v)||^2 in the mean over m and i is
    /// at most this, squared, times ||u - v||^2. Equal to device_lipschitz where there is one component.
    double component_lipschitz = 0;
    double monotonicity = 0;  ///< mu: F is strongly monotone; 0 if it is merely monotone
};

class Problem {
  public:
    virtual ~Problem() = default;

    /// In words, for titles and for processes that make sure that they solve the same one.
    virtual std::string name() const = 0;
    virtual std::size_t dimension() const = 0;
    virtual std::size_t devices() const = 0;

    /// value = F_device(z). Both have dimension() elements and do not overlap.
    virtual void evaluate(std::size_t device, std::span<const double> z, std::span<double> value) const = 0;

    /// How many components F_device is the average of.
    virtual std::size_t components(std::size_t /*device*/) const { return 1; }

    /// value = the average of the components whose indices are in `batch`, which is not empty.
    virtual void evaluate_batch(std::size_t device, std::span<const std::size_t> batch,
                                std::span<const double> z, std::span<double> value) const;

    /// True if h is not 0.
    virtual bool has_prox() const { return false; }
    /// z = argmin_u h(u) + ||u - z||^2 / (2 step), in place. Does nothing where h = 0.
    virtual void prox(double /*step*/, std::span<double> /*z*/) const {}

    /// Nothing where they are not known: then step sizes must be given.
    virtual std::optional<Constants> constants() const { return std::nullopt; }

    /// Where the methods begin. 0 unless the problem says otherwise.
    virtual Vector start() const { return Vector(dimension(), 0.0); }

    virtual std::optional<Vector> solution() const { return std::nullopt; }

    /// How far z is from a solution where there may be many (a merely monotone problem): 0 at a solution and
    /// positive elsewhere. Methods are judged by the gap of the average of their points.
    virtual std::optional<double> gap(std::span<const double> /*z*/) const { return std::nullopt; }
};

/// F(z), as no device could alone: for judging results and for solving in advance.
Vector full_operator(const Problem& problem, std::span<const double> z);

}  // namespace shoal::variational
