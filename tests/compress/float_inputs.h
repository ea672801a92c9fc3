// Vectors of floats that tests feed to kernels.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "shoal/base/random.h"

namespace shoal::test {

inline float from_bits(std::uint32_t bits) {
    return std::bit_cast<float>(bits);
}
inline std::uint32_t to_bits(float value) {
    return std::bit_cast<std::uint32_t>(value);
}

/// Any float there is: NaNs with all payloads, infinities, denormal numbers.
inline std::vector<float> any_floats(std::size_t count, Random& random) {
    std::vector<float> values(count);
    for (float& value : values) value = from_bits(static_cast<std::uint32_t>(random.next()));
    return values;
}

/// Finite floats, spread over all exponents.
inline std::vector<float> finite_floats(std::size_t count, Random& random) {
    std::vector<float> values = any_floats(count, random);
    for (float& value : values) {
        if (!std::isfinite(value)) value = from_bits(to_bits(value) & 0xBFFFFFFF);
    }
    return values;
}

/// Normally distributed, as gradients roughly are, with some zeros.
inline std::vector<float> gradient_like(std::size_t count, Random& random, double deviation = 1) {
    std::vector<float> values(count);
    for (float& value : values)
        value = random.below(16) == 0 ? 0.0F : static_cast<float>(random.normal() * deviation);
    return values;
}

/// The edges of formats.
inline std::vector<float> special_floats() {
    using Limits = std::numeric_limits<float>;
    std::vector<float> values = {0.0F,
                                 0x1p-149F,
                                 0x1p-126F,
                                 0x1p-24F,
                                 0x1.8p-25F,
                                 0x1p-25F,
                                 0x1p-14F,
                                 0x1.ffcp-15F,
                                 1.0F,
                                 65504.0F,
                                 65519.0F,
                                 65520.0F,
                                 65536.0F,
                                 1e10F,
                                 Limits::max(),
                                 from_bits(0x7F7F7FFF),
                                 from_bits(0x7F7F8000),
                                 Limits::infinity(),
                                 from_bits(0x7FC00000),
                                 from_bits(0x7F800001),
                                 from_bits(0x7FFFFFFF)};
    const std::size_t half = values.size();
    for (std::size_t i = 0; i < half; ++i) values.push_back(from_bits(to_bits(values[i]) | 0x80000000));
    return values;
}

/// Equal bits, NaNs included.
inline bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
    if (a.size() != b.size()) return false;
    for (std::size_t i = 0; i < a.size(); ++i) {
        if (to_bits(a[i]) != to_bits(b[i])) return false;
    }
    return true;
}

}  // namespace shoal::test
