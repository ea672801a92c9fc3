// SIMD kernels of natural, qsgd and sign, for rounding_codecs.cpp. A count of 0 is fine.
#pragma once

#include <cstddef>
#include <cstdint>

#include "shoal/compress/counter_random.h"

namespace shoal::compress {

/// Natural: the exponent of each value, rounded up or down by the lot of its position (`begin` + i): that is
/// a sum of integers, whose carry has exactly the right probability. 255 is what is not finite.
void encode_natural(const float* values, std::size_t count, CounterKeys keys, std::size_t begin,
                    std::uint8_t* exponents);
void decode_natural(const std::uint8_t* exponents, const std::uint8_t* signs, float* values,
                    std::size_t count);
void scaled_add_natural(const std::uint8_t* exponents, const std::uint8_t* signs, float factor, float* sum,
                        std::size_t count);

/// The signs as bits, lowest first; what fills the last byte is zero.
void encode_signs(const float* values, std::size_t count, std::uint8_t* bits);
void decode_signs(const std::uint8_t* bits, float scale, float* values, std::size_t count);
void scaled_add_signs(const std::uint8_t* bits, float scale, float factor, float* sum, std::size_t count);

/// Of finite values: the mean magnitude, and the Euclidean norm, at most the largest float. NaN if a value is
/// not finite.
float mean_magnitude(const float* values, std::size_t count);
float euclidean_norm(const float* values, std::size_t count);

/// Qsgd: the code of a value is its step, from 0 (-norm) over `steps` (zero) to 2 * steps (norm). `norm` is a
/// positive number, and no value is larger.
void encode_steps(const float* values, std::size_t count, float norm, unsigned steps, CounterKeys keys,
                  std::size_t begin, std::uint8_t* codes);
void decode_steps(const std::uint8_t* codes, float norm, unsigned steps, float* values, std::size_t count);
void scaled_add_steps(const std::uint8_t* codes, float norm, unsigned steps, float factor, float* sum,
                      std::size_t count);

}  // namespace shoal::compress
