// The average of a round, by the plain formula: what every member's result is held against, bit by bit.
#pragma once

#include <algorithm>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include "shoal/compress/codec.h"

namespace shoal::collective {

struct WeightedVector {
    double weight = 0;
    std::span<const float> values;
};

/// What the owner of an element does, written down plainly.
/// @param contributions  of all members, in their order
inline std::vector<float> plain_average(const std::vector<WeightedVector>& contributions,
                                        const std::string& codec_name) {
    const auto codec = compress::make_codec(codec_name);
    double weights = 0;
    std::size_t length = 0;
    for (const WeightedVector& one : contributions) {
        weights += one.weight;
        length = std::max(length, one.values.size());
    }
    std::vector<float> sum(length, 0.0f), decoded(length), result(length);
    for (const WeightedVector& one : contributions) {
        if (one.values.empty() || one.weight == 0) continue;
        codec->decode(codec->encode(one.values), decoded);
        const auto scale = static_cast<float>(one.weight / weights);
        for (std::size_t i = 0; i < length; ++i) {
            const float product = scale * decoded[i];
            sum[i] = sum[i] + product;
        }
    }
    codec->decode(codec->encode(sum), result);
    return result;
}

inline bool same_bits(std::span<const float> a, std::span<const float> b) {
    // memcmp must not be given the null pointer of an empty span.
    return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size_bytes()) == 0);
}

}  // namespace shoal::collective
