// Which positions of a vector are kept: SIMD kernels for sparse_codecs.cpp.
//
// Every position has a key, a signed 32-bit number; kept are the positions whose keys lie between two ranks.
// Of Top-k, a key is the smaller the larger the magnitude of the value; of the random codecs it is a lot
// (counter_random.h), so that a random set of the wanted size is kept, found again by whoever has the seed.
//
// Finding a key by its rank takes one pass, in nearly all cases: a sample (of lots, the binomial
// distribution) says between which two keys it must be; the pass counts what is below and collects what is
// between. Only where the sample was wrong, or too many keys are equal, two more passes count the keys by
// their upper and lower halves. Keeping takes another pass. So Top-k reads its values twice, and four times
// at worst (a pass that finds too many keys between ends early).
#pragma once

#include <cstddef>
#include <cstdint>

#include "shoal/compress/counter_random.h"

namespace shoal::compress {

/// Positions are 32-bit numbers.
inline constexpr std::uint64_t kMaximumPositions = std::uint64_t{1} << 32;

/// A key, and how many keys are smaller.
struct RankedKey {
    std::int32_t key;
    std::size_t smaller;
};

/// The key of that rank (from 0), rank < count < kMaximumPositions.
RankedKey find_magnitude_rank(const float* values, std::size_t count, std::size_t rank);
RankedKey find_lot_rank(CounterKeys keys, std::size_t count, std::size_t rank);

/// What is kept: keys from `lowest` on and below `border`, and the first `ties` positions whose key is the
/// border itself.
struct KeptKeys {
    std::int32_t lowest, border;
    std::size_t ties;
};

/// A kernel writes this many positions more than it says.
inline constexpr std::size_t kPositionSlack = 16;

/// Writes the positions in [begin, begin + count) that are kept, in ascending order, and returns how many;
/// takes the ties that it kept from `kept`. `positions` has room for count + kPositionSlack.
std::size_t keep_magnitudes(const float* values, std::size_t begin, std::size_t count, KeptKeys& kept,
                            std::uint32_t* positions);
std::size_t keep_lots(CounterKeys keys, std::size_t begin, std::size_t count, KeptKeys& kept,
                      std::uint32_t* positions);

}  // namespace shoal::compress
