// Kernels of the codec quantile8, for block_codecs.cpp: one block at a time.
//
// The values of a block are sorted and cut into groups of equal size (256 of them, or as many as there are
// values). The codebook holds the mean of each group; a value's code is the entry nearest to it, the lower
// one of two that are equally near. So each value is kept within the width of its group, and half of the
// codes go to the half of the values that lie closest together. Sorting is exact and of fixed cost (by
// radix); a sample would be faster, but the bound would be gone.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace shoal::compress {

/// Values that share a codebook.
inline constexpr std::size_t kQuantileBlock = 16384;

/// Entries of a codebook, but no more than the block has values.
inline constexpr std::size_t kQuantileCodes = 256;

/// Makes codebooks; holds the space for it.
class QuantileFinder {
  public:
    QuantileFinder();

    /// The codebook (ascending, no negative zero) of 1 to kQuantileBlock values that are finite, as many
    /// entries as `codebook` has room for, at most as many as there are values.
    void find(std::span<const float> values, std::span<float> codebook);

  private:
    void sort(std::span<const float> values);
    std::vector<std::uint32_t> keys_, space_;
};

/// True if a value is NaN or infinite.
bool has_not_finite(std::span<const float> values);

/// codes[i] = the entry nearest to values[i]. @param codebook  1 to 256 ascending entries.
void encode_by_codebook(const float* values, std::size_t count, std::span<const float> codebook,
                        std::uint8_t* codes);

/// values[i] = codebook[codes[i]]. @param codebook  256 entries.
void decode_by_codebook(const std::uint8_t* codes, const float* codebook, float* values, std::size_t count);

/// sum[i] += factor * codebook[codes[i]], each operation rounded.
void scaled_add_by_codebook(const std::uint8_t* codes, const float* codebook, float factor, float* sum,
                            std::size_t count);

}  // namespace shoal::compress
