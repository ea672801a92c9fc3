// SIMD kernels of the codec uniform8, for block_codecs.cpp: one block at a time.
//
// 256 equal steps from the lowest to the highest value of the block, both of which travel:
//   encode: code = floor((x - low) * (255 / (high - low)) + 1/2);
//   decode: x = middle + (code - 127.5) * step, but never below low or above high, with
//           middle = low / 2 + high / 2 and step = high / 255 - low / 255 (neither can overflow).
// So each value is kept within half a step and three roundings of the largest magnitude (and 130 times
// 2^-149, because the step is rounded to a multiple of that), and a block of equal values exactly.
#pragma once

#include <cstddef>
#include <cstdint>

namespace shoal::compress {

/// Values that share a range.
inline constexpr std::size_t kUniformBlock = 4096;

/// The values of a block lie between these. Finite, without a negative zero, and low <= high; or both are the
/// one NaN (kNotFiniteBits) if a value was not finite.
struct UniformRange {
    float low = 0, high = 0;
};

/// Writes `count` codes (1 <= count <= kUniformBlock) and returns the range. If a value is not finite, all
/// codes are 0.
UniformRange encode_uniform(const float* values, std::size_t count, std::uint8_t* codes);

/// All bytes are valid codes; the range is finite.
void decode_uniform(const std::uint8_t* codes, UniformRange range, float* values, std::size_t count);

/// sum[i] += factor * (what decode_uniform gives), each operation rounded.
void scaled_add_uniform(const std::uint8_t* codes, UniformRange range, float factor, float* sum,
                        std::size_t count);

}  // namespace shoal::compress
