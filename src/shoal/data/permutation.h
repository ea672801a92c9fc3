// A random order of 0 ... n-1 without storing it: any element can be asked for by its index.
#pragma once

#include <cstdint>

namespace shoal::data {

/// Mixes two numbers into one that looks random (the finaliser of SplitMix64, applied twice). For seeds, not
/// for secrets.
constexpr std::uint64_t mix(std::uint64_t a, std::uint64_t b) {
    const auto finalise = [](std::uint64_t x) {
        x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
        x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
        return x ^ (x >> 31);
    };
    return finalise(finalise(a + 0x9e3779b97f4a7c15ULL) + b * 0xd1342543de82ef95ULL + 0x632be59bd9b4e019ULL);
}

/// A keyed permutation of [0, size): a four-round Feistel network on the next even number of bits, walked
/// along its cycle until it falls into the range (Black and Rogaway, 'Ciphers with arbitrary finite domains';
/// less than 4 network passes an index on average).
class Permutation {
  public:
    /// size > 0.
    Permutation(std::uint64_t size, std::uint64_t key);

    /// The element at place `index` (< size).
    std::uint64_t operator()(std::uint64_t index) const;

  private:
    std::uint64_t size_;
    std::uint64_t key_;
    unsigned half_bits_;
};

}  // namespace shoal::data
