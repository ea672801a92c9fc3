// Vectors of doubles and the few operations that the methods need. Sums run in one fixed order, so that every
// process gets the same bits.
#pragma once

#include <cassert>
#include <cmath>
#include <cstddef>
#include <span>
#include <vector>

namespace shoal::variational {

using Vector = std::vector<double>;

/// result = a x + b y. The result may be one of the two; all have one length.
inline void combine(double a, std::span<const double> x, double b, std::span<const double> y,
                    std::span<double> result) {
    assert(x.size() == y.size() && x.size() == result.size());
    for (std::size_t i = 0; i < x.size(); ++i) result[i] = a * x[i] + b * y[i];
}

/// y += a x
inline void add_scaled(double a, std::span<const double> x, std::span<double> y) {
    assert(x.size() == y.size());
    for (std::size_t i = 0; i < x.size(); ++i) y[i] += a * x[i];
}

inline double dot(std::span<const double> x, std::span<const double> y) {
    assert(x.size() == y.size());
    // Four sums, so that the processor need not wait for each addition.
    double sum0 = 0, sum1 = 0, sum2 = 0, sum3 = 0;
    std::size_t i = 0;
    for (; i + 4 <= x.size(); i += 4) {
        sum0 += x[i] * y[i];
        sum1 += x[i + 1] * y[i + 1];
        sum2 += x[i + 2] * y[i + 2];
        sum3 += x[i + 3] * y[i + 3];
    }
    for (; i < x.size(); ++i) sum0 += x[i] * y[i];
    return (sum0 + sum1) + (sum2 + sum3);
}

inline double squared_distance(std::span<const double> x, std::span<const double> y) {
    assert(x.size() == y.size());
    double sum = 0;
    for (std::size_t i = 0; i < x.size(); ++i) sum += (x[i] - y[i]) * (x[i] - y[i]);
    return sum;
}

inline double norm(std::span<const double> x) {
    return std::sqrt(dot(x, x));
}

inline bool is_finite(std::span<const double> x) {
    for (const double value : x)
        if (!std::isfinite(value)) return false;
    return true;
}

}  // namespace shoal::variational
