// What the codecs that work in blocks share: how many blocks there are, and scales that are checked.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>

#include "shoal/base/error.h"
#include "shoal/compress/not_finite.h"

namespace shoal::compress {

/// Blocks that so many values make.
inline std::size_t blocks_of(std::size_t count, std::size_t block_size) {
    return count / block_size + (count % block_size != 0 ? 1 : 0);
}

/// Throws the error for bytes that no encoder writes.
[[noreturn]] inline void refuse(std::string_view codec, const std::string& what, std::size_t block) {
    throw Error(ErrorKind::protocol_violation, std::string(codec) + ": " + what + " of block " +
                                                   std::to_string(block) +
                                                   "; a correct peer never sends that");
}

/// The index-th of 32-bit numbers that need not be aligned.
inline std::uint32_t read_bits(const std::uint8_t* encoded, std::size_t index) {
    std::uint32_t bits;
    std::memcpy(&bits, encoded + index * sizeof(bits), sizeof(bits));
    return bits;
}

/// The scale of a block, from the scales that stand at the beginning. An encoder writes finite ones that are
/// not negative, and one NaN that marks a block whose input was not finite.
inline float read_scale(std::string_view codec, const std::uint8_t* encoded, std::size_t block) {
    const std::uint32_t bits = read_bits(encoded, block);
    const bool finite = is_plain_finite(bits) && (bits & 0x80000000U) == 0;
    if (!finite && bits != kNotFiniteBits) refuse(codec, "a scale that is negative or not finite", block);
    return std::bit_cast<float>(bits);
}

/// What decode_scaled_add does with a block whose input was not finite.
inline void spoil(std::span<float> sum, float factor) {
    const float product = factor * not_finite_mark();
    for (float& value : sum) value += product;
}

}  // namespace shoal::compress
