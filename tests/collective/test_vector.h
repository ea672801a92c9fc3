// What simulated and real peers of tests contribute.
#pragma once

#include <cmath>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "shoal/base/hash.h"
#include "shoal/base/identity.h"
#include "shoal/base/random.h"

namespace shoal::collective {

/// Numbers that look like gradients: normal, of many magnitudes.
inline std::vector<float> test_vector(std::size_t elements, std::uint64_t seed) {
    Random random(seed);
    std::vector<float> values(elements);
    for (float& v : values) v = static_cast<float>(random.normal() * std::exp(2 * random.normal() - 3));
    return values;
}

inline constexpr std::uint64_t kVectorSeed = 500;  ///< plus the number of the peer, of real peers

inline double test_weight(std::size_t peer) {
    return 1 + 2 * static_cast<double>(peer);
}

/// Of a real peer.
inline KeyPair test_key(std::size_t peer) {
    return KeyPair::from_seed(Bytes(32, static_cast<std::uint8_t>(peer + 1)));
}

/// Equal for equal bits.
inline std::string text_of(std::span<const float> values) {
    return fingerprint(as_bytes(values)).hex();
}

}  // namespace shoal::collective
