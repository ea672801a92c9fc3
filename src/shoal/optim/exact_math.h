// Functions whose results are the same bits on every machine, unlike those of <cmath>, which differ between
// versions of the C library and between processors. Made of + - * / only.
#pragma once

#include <cstdint>

namespace shoal::optim {

/// base to the power of exponent, by repeated squaring. 1 for exponent 0.
double integer_power(double base, std::uint64_t exponent);

/// (1 + cos(pi * x)) / 2 for x in [0, 1]: from 1 down to 0. Within 1e-14.
double half_cosine(double x);

}  // namespace shoal::optim
