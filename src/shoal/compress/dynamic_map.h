// The signed dynamic 8-bit map of bitsandbytes (Dettmers et al., "8-bit Optimizers via Block-wise
// Quantization"), in a form that needs no search and no table of 256.
//
// Definition. 256 sorted values in [-1, 1]: for i = 0..6 the 2^i midpoints of 2^i equal intervals of [0.1,
// 1], times 10^(i-6), with both signs; and 0; and 1. A code is the index of the value nearest to x / (largest
// |x| of the block).
//
// Arithmetic form. Let decade i be the interval [10^(i-7), 10^(i-6)], cut into 2^i cells of width w_i. Codes
// are symmetric about 127: code = 127 + sign * m, where m = 0 means 0, m = 2^i + j means the middle of cell j
// of decade i, and m = 128 means 1 (there is no -1: a block's largest value decodes to -0.993 of itself when
// it is negative).
//   decode: |value| = (m + offset_i) * width_i, with i the binary exponent of m;
//   encode: m = floor(|x| * slope_i + intercept_i), capped so that it stays in decade i.
// The border of two decades lies halfway between their outermost values, that is at 10^(i-6) + w_i;
// below 2.75e-7 lies zero and above 0.996484375 lies one. Seen from the exponent of 2|x| divided by 3 (eight
// classes of three octaves, q = 35..42, from 2^-23 to 1), exactly one border falls into each class. So
// eight-entry tables do, which one permute instruction reads: `border` by q mod 8, then slope, intercept and
// cap by (q + (2|x| > border)) mod 8. Zero (q = 35, below the border) and one (q = 42, above it) share an
// entry: a line so steep that its cap cuts one to 128, through 0. m = 0 and m = 128 share an entry of the
// decoding tables likewise (m = 0 is looked up as 0.5).
#pragma once

#include <array>
#include <cstddef>

namespace shoal::compress {

/// Tables hold their eight entries twice, so that a vector of 16 lanes can be loaded from them as well.
struct DynamicMap {
    using Table = std::array<float, 16>;
    alignas(64) Table border{}, slope{}, intercept{}, cap{};  // for encoding, in terms of 2|x|
    alignas(64) Table offset{}, width{};                      // for decoding, by (127 + exponent of m) mod 8
};

constexpr DynamicMap make_dynamic_map() {
    DynamicMap map;
    const auto set = [](DynamicMap::Table& table, std::size_t index, double value) {
        table[index % 8] = table[index % 8 + 8] = static_cast<float>(value);
    };
    constexpr std::size_t kFirstClass = 35;
    set(map.border, kFirstClass, 2 * 2.75e-7);
    set(map.border, kFirstClass + 7, 2 * 0.996484375);
    set(map.slope, kFirstClass, 65);
    set(map.intercept, kFirstClass, 0);
    set(map.cap, kFirstClass, 128);
    set(map.offset, 126, -0.5);
    set(map.width, 126, 1 / 127.5);
    double begin = 1e-7;  // 10^(i-7)
    double cells = 1;     // 2^i
    for (std::size_t i = 0; i <= 6; ++i) {
        const double width = 9 * begin / cells;
        set(map.slope, kFirstClass + 1 + i, 0.5 / width);
        set(map.intercept, kFirstClass + 1 + i, cells * 8 / 9);
        set(map.cap, kFirstClass + 1 + i, 2 * cells - 0.5);
        set(map.offset, 127 + i, 0.5 - cells * 8 / 9);
        set(map.width, 127 + i, width);
        if (i < 6) set(map.border, kFirstClass + 1 + i, 2 * (10 * begin + width));
        begin *= 10;
        cells *= 2;
    }
    return map;
}

inline constexpr DynamicMap kDynamicMap = make_dynamic_map();

static_assert((128 + kDynamicMap.offset[6]) * kDynamicMap.width[6] == 1,
              "the largest value of a block is kept exactly");

/// What a code stands for, in [-0.993, 1]. The kernels give the same bits.
constexpr float dynamic_map_value(unsigned code) {
    const int signed_m = static_cast<int>(code) - 127;
    const float m = static_cast<float>(signed_m < 0 ? -signed_m : signed_m);
    std::size_t exponent = 126;
    for (float power = 1; power <= m; power *= 2) ++exponent;
    const float magnitude =
        ((m < 0.5F ? 0.5F : m) + kDynamicMap.offset[exponent % 8]) * kDynamicMap.width[exponent % 8];
    return signed_m < 0 ? -magnitude : magnitude;
}

}  // namespace shoal::compress
