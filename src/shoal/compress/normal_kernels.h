// SIMD kernels of the codec blockwise4, for block_codecs.cpp: many blocks at once, because one is short. The
// map is described in normal_map.h.
//
// Encoded: the scales of all blocks (4 bytes each), then the codes, two a byte: of a block with n values the
// low halves of ceil(n / 2) bytes hold the codes of the first values, the high halves those of the others
// (the last high half is 0 if n is odd).
#pragma once

#include <cstddef>
#include <cstdint>

namespace shoal::compress {

/// Values that share a scale.
inline constexpr std::size_t kNormalBlock = 64;

/// Writes a scale (the largest magnitude) for each block and all codes. If a value of a block is not finite,
/// its scale is the NaN kNotFiniteBits and its codes are those of zeros.
void encode_normal(const float* values, std::size_t count, std::uint8_t* scales, std::uint8_t* codes);

/// values[i] = map(code i) * scale. All bytes are valid codes; no result exceeds the scale.
void decode_normal(const std::uint8_t* scales, const std::uint8_t* codes, float* values, std::size_t count);

/// sum[i] += factor * (map(code i) * scale), each operation rounded.
void scaled_add_normal(const std::uint8_t* scales, const std::uint8_t* codes, float factor, float* sum,
                       std::size_t count);

}  // namespace shoal::compress
