// How blocks that held a NaN or an infinity are marked.
#pragma once

#include <bit>
#include <cstdint>

namespace shoal::compress {

/// Bits that stand in the place of a block's scale (range, first codebook entry) if a value of it was not
/// finite: the one NaN that encoders write.
inline constexpr std::uint32_t kNotFiniteBits = 0x7FC00000;

/// The same as a float.
inline float not_finite_mark() {
    return std::bit_cast<float>(kNotFiniteBits);
}

/// True if these are the bits of a finite number that an encoder writes: not a negative zero.
constexpr bool is_plain_finite(std::uint32_t bits) {
    return (bits & 0x7F800000U) != 0x7F800000U && bits != 0x80000000U;
}

}  // namespace shoal::compress
