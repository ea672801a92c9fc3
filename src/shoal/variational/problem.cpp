#include "shoal/variational/problem.h"

namespace shoal::variational {

void Problem::evaluate_batch(std::size_t device, std::span<const std::size_t> /*batch*/,
                             std::span<const double> z, std::span<double> value) const {
    evaluate(device, z, value);  // the only component, however often it is drawn
}

Vector full_operator(const Problem& problem, std::span<const double> z) {
    Vector sum(problem.dimension(), 0.0), value(problem.dimension());
    for (std::size_t device = 0; device < problem.devices(); ++device) {
        problem.evaluate(device, z, value);
        add_scaled(1.0 / static_cast<double>(problem.devices()), value, sum);
    }
    return sum;
}

}  // namespace shoal::variational
