#include "shoal/optim/exact_math.h"

namespace shoal::optim {

double integer_power(double base, std::uint64_t exponent) {
    double result = 1;
    for (double square = base; exponent != 0; exponent >>= 1, square *= square) {
        if (exponent & 1) result *= square;
    }
    return result;
}

double half_cosine(double x) {
    if (x > 0.5) return 1 - half_cosine(1 - x);
    constexpr double kPi = 3.14159265358979323846;
    const double t = kPi * x * (kPi * x);
    // Taylor: 1 - t/2! + t^2/4! - ..., by Horner's rule from the smallest term.
    double cosine = 1;
    for (int n = 22; n >= 2; n -= 2) cosine = 1 - cosine * t / (n * (n - 1));
    return (1 + cosine) / 2;
}

}  // namespace shoal::optim
