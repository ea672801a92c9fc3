// The largest absolute value of a block, for the kernels of several codecs. Included once for each
// instruction set, by files that Highway includes likewise; hence a guard that lets it in again, and no
// `pragma once`.
#if defined(SHOAL_LARGEST_MAGNITUDE_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef SHOAL_LARGEST_MAGNITUDE_INL_H
#undef SHOAL_LARGEST_MAGNITUDE_INL_H
#else
#define SHOAL_LARGEST_MAGNITUDE_INL_H
#endif

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace shoal::compress {
namespace HWY_NAMESPACE {

/// Bits of infinity; what is not finite has these or more.
inline constexpr std::int32_t kInfinityBits = 0x7F800000;

/// The bits of the largest absolute value; as integers they order floats, with infinity and then NaN at the
/// top.
HWY_INLINE std::int32_t largest_magnitude(const float* values, std::size_t count) {
    namespace hn = hwy::HWY_NAMESPACE;
    const hn::ScalableTag<float> d;
    const hn::RebindToSigned<decltype(d)> di;
    const std::size_t lanes = hn::Lanes(d);
    const auto mask = hn::Set(di, 0x7FFFFFFF);
    const auto load = [&](std::size_t at)
                          HWY_ATTR { return hn::And(hn::BitCast(di, hn::LoadU(d, values + at)), mask); };
    auto largest0 = hn::Zero(di), largest1 = hn::Zero(di), largest2 = hn::Zero(di), largest3 = hn::Zero(di);
    std::size_t i = 0;
    for (; i + 4 * lanes <= count; i += 4 * lanes) {
        largest0 = hn::Max(largest0, load(i));
        largest1 = hn::Max(largest1, load(i + lanes));
        largest2 = hn::Max(largest2, load(i + 2 * lanes));
        largest3 = hn::Max(largest3, load(i + 3 * lanes));
    }
    for (; i + lanes <= count; i += lanes) largest0 = hn::Max(largest0, load(i));
    const auto all = hn::Max(hn::Max(largest0, largest1), hn::Max(largest2, largest3));
    std::int32_t result = hn::GetLane(hn::MaxOfLanes(di, all));
    for (; i < count; ++i) {
        std::int32_t bits;
        std::memcpy(&bits, values + i, sizeof(bits));
        bits &= 0x7FFFFFFF;
        if (bits > result) result = bits;
    }
    return result;
}

}  // namespace HWY_NAMESPACE
}  // namespace shoal::compress
HWY_AFTER_NAMESPACE();

#endif
