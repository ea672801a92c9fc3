// SIMD kernels of the codecs fp32, fp16 and bf16, for codec.cpp. Byte addresses need no alignment; a count of
// 0 is fine.
#pragma once

#include <cstddef>
#include <cstdint>

namespace shoal::compress {

void encode_fp16(const float* values, std::size_t count, std::uint8_t* encoded);
void decode_fp16(const std::uint8_t* encoded, float* values, std::size_t count);
void encode_bf16(const float* values, std::size_t count, std::uint8_t* encoded);
void decode_bf16(const std::uint8_t* encoded, float* values, std::size_t count);

/// sum[i] += scale * decoded[i]: a rounded product, then a rounded sum.
void scaled_add_fp32(const std::uint8_t* encoded, float scale, float* sum, std::size_t count);
void scaled_add_fp16(const std::uint8_t* encoded, float scale, float* sum, std::size_t count);
void scaled_add_bf16(const std::uint8_t* encoded, float scale, float* sum, std::size_t count);

}  // namespace shoal::compress
