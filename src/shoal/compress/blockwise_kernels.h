// SIMD kernels of the codec blockwise8, for block_codecs.cpp: one block at a time. The map is described in
// dynamic_map.h.
#pragma once

#include <cstddef>
#include <cstdint>

namespace shoal::compress {

/// Values that share a scale.
inline constexpr std::size_t kBlockSize = 4096;

/// Writes `count` codes (1 <= count <= kBlockSize) and returns the scale, the largest absolute value. If a
/// value is not finite, the scale is the NaN kNotFiniteBits and all codes are 127.
float encode_block(const float* values, std::size_t count, std::uint8_t* codes);

/// values[i] = map(codes[i]) * scale. All bytes are valid codes; no result exceeds the scale.
void decode_block(const std::uint8_t* codes, float scale, float* values, std::size_t count);

/// sum[i] += factor * (map(codes[i]) * scale), each operation rounded.
void scaled_add_block(const std::uint8_t* codes, float scale, float factor, float* sum, std::size_t count);

}  // namespace shoal::compress
