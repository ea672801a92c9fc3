// Lots for codecs: the i-th number is computed from the seed and i alone, so that vectors of them are
// computed at once, and those of any position again at any time.
#pragma once

#include <cstdint>

namespace shoal::compress {

/// What a seed becomes. The i-th number is mix(mix(i ^ first) + second): each mix is a permutation of the
/// 32-bit numbers, so all numbers of a seed differ.
struct CounterKeys {
    std::uint32_t first, second;
};

CounterKeys counter_keys(std::uint64_t seed);

/// Another seed that has nothing to do with this one.
std::uint64_t derived_seed(std::uint64_t seed);

// mix: xor with itself shifted right by kMixShift[0], times kMixFactor[0], and so on (Wellons, "Prospecting
// for Hash Functions": the least biased function of this form that is known).
inline constexpr int kMixShift0 = 16, kMixShift1 = 15, kMixShift2 = 16;
inline constexpr std::uint32_t kMixFactor0 = 0x7FEB352DU, kMixFactor1 = 0x846CA68BU;

/// One number; the kernels compute the same.
constexpr std::uint32_t mix(std::uint32_t x) {
    x ^= x >> kMixShift0;
    x *= kMixFactor0;
    x ^= x >> kMixShift1;
    x *= kMixFactor1;
    return x ^ x >> kMixShift2;
}
constexpr std::uint32_t counter_number(CounterKeys keys, std::uint32_t i) {
    return mix(mix(i ^ keys.first) + keys.second);
}

}  // namespace shoal::compress
