#include "shoal/compress/normal_kernels.h"

#include <algorithm>
#include <cstring>

#include "shoal/compress/normal_map.h"
#include "shoal/compress/not_finite.h"
#include "shoal/compress/simd_config.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "shoal/compress/normal_kernels.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "shoal/compress/largest_magnitude-inl.h"

HWY_BEFORE_NAMESPACE();
namespace shoal::compress {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

/// The codes of values, as integers: how many borders each is above.
template <class D>
class NormalEncoder {
  public:
    /// A value times both factors, in this order, is its share of the block's largest.
    HWY_INLINE NormalEncoder(float first_factor, float second_factor)
        : first_factor_(hn::Set(D(), first_factor)), second_factor_(hn::Set(D(), second_factor)) {}

    HWY_INLINE hn::Vec<hn::RebindToSigned<D>> codes(const float* values) const {
        const D d;
        const hn::RebindToSigned<D> di;
        const auto share = hn::Mul(hn::Mul(hn::LoadU(d, values), first_factor_), second_factor_);
        auto code = hn::Zero(di);
        // A true mask is -1 in each lane.
        for (const float border : kNormalBorders)
            code = hn::Sub(code, hn::VecFromMask(di, hn::RebindMask(di, hn::Gt(share, hn::Set(d, border)))));
        return code;
    }

  private:
    hn::Vec<D> first_factor_, second_factor_;
};

/// Bytes from `begin` on, as far as whole vectors go and both halves have a value.
template <class D>
HWY_INLINE std::size_t encode_pairs(D, const float* low, const float* high, std::size_t begin,
                                    std::size_t pairs, float first, float second, std::uint8_t* codes) {
    const hn::RebindToSigned<D> di;
    const hn::Rebind<std::uint8_t, D> d8;
    const std::size_t lanes = hn::Lanes(di);
    const NormalEncoder<D> encoder(first, second);
    for (; begin + lanes <= pairs; begin += lanes) {
        const auto pair = hn::Or(encoder.codes(low + begin), hn::ShiftLeft<4>(encoder.codes(high + begin)));
        hn::StoreU(hn::DemoteTo(d8, pair), d8, codes + begin);
    }
    return begin;
}

/// Codes of a block whose values are all to become zero times the scale.
HWY_INLINE void fill_with_zeros(std::size_t count, std::uint8_t* codes) {
    std::memset(codes, static_cast<int>(kNormalZero * 0x11), count / 2);
    if (count % 2 != 0) codes[count / 2] = kNormalZero;
}

HWY_INLINE float encode_normal_block(const float* values, std::size_t count, std::uint8_t* codes) {
    const std::int32_t bits = largest_magnitude(values, count);
    if (bits == 0 || bits >= kInfinityBits) {
        fill_with_zeros(count, codes);
        return bits == 0 ? 0.0F : not_finite_mark();
    }
    float largest;
    std::memcpy(&largest, &bits, sizeof(largest));
    // Near the ends of the range the reciprocal would be denormal, or infinite.
    const float first = largest > 0x1p100F ? 0x1p-64F : largest < 0x1p-100F ? 0x1p64F : 1.0F;
    const float second = 1.0F / (largest * first);
    const std::size_t half = (count + 1) / 2, pairs = count / 2;
    const std::size_t begin =
        encode_pairs(hn::ScalableTag<float>(), values, values + half, 0, pairs, first, second, codes);
    const hn::CappedTag<float, 1> one;
    encode_pairs(one, values, values + half, begin, pairs, first, second, codes);
    if (half > pairs) {
        const NormalEncoder<decltype(one)> encoder(first, second);
        codes[pairs] = static_cast<std::uint8_t>(hn::GetLane(encoder.codes(values + pairs)));
    }
    return largest;
}

void encode_normal_kernel(const float* values, std::size_t count, std::uint8_t* scales, std::uint8_t* codes) {
    for (std::size_t begin = 0; begin < count; begin += kNormalBlock) {
        const float scale =
            encode_normal_block(values + begin, std::min(kNormalBlock, count - begin), codes + begin / 2);
        std::memcpy(scales + begin / kNormalBlock * sizeof(float), &scale, sizeof(float));
    }
}

/// The map from registers where they hold it, from memory elsewhere. Codes are below 16.
template <class D>
class NormalLookup {
  public:
    using Codes = hn::Vec<hn::RebindToSigned<D>>;

    HWY_INLINE NormalLookup() {
        if constexpr (kRegisters > 0) low_ = hn::LoadU(D(), kNormalMap.data());
        if constexpr (kRegisters > 1) high_ = hn::LoadU(D(), kNormalMap.data() + 8);
    }

    HWY_INLINE hn::Vec<D> operator()(Codes codes) const {
        const D d;
        if constexpr (kRegisters == 1) {
            return hn::TableLookupLanes(low_, hn::IndicesFromVec(d, codes));
        } else if constexpr (kRegisters == 2) {
            const hn::RebindToSigned<D> di;
            const auto place = hn::IndicesFromVec(d, hn::And(codes, hn::Set(di, 7)));
            return hn::IfThenElse(hn::RebindMask(d, hn::Gt(codes, hn::Set(di, 7))),
                                  hn::TableLookupLanes(high_, place), hn::TableLookupLanes(low_, place));
        } else {
            return hn::GatherIndex(d, kNormalMap.data(), codes);
        }
    }

  private:
    static constexpr int kRegisters = hn::MaxLanes(D()) == 16 ? 1 : hn::MaxLanes(D()) == 8 ? 2 : 0;
    hn::Vec<D> low_ = hn::Undefined(D()), high_ = hn::Undefined(D());
};

/// Takes decoded values as they come.
struct StoreValues {
    template <class D>
    HWY_INLINE void operator()(D d, hn::Vec<D> values, float* target) const {
        hn::StoreU(values, d, target);
    }
};
struct AddScaled {
    float factor;
    template <class D>
    HWY_INLINE void operator()(D d, hn::Vec<D> values, float* target) const {
        hn::StoreU(hn::Add(hn::LoadU(d, target), hn::Mul(hn::Set(d, factor), values)), d, target);
    }
};

template <class D, class Take>
HWY_INLINE std::size_t decode_pairs(D d, const std::uint8_t* codes, float scale, std::size_t begin,
                                    std::size_t pairs, float* low, float* high, Take take) {
    const hn::RebindToSigned<D> di;
    const hn::Rebind<std::uint8_t, D> d8;
    const std::size_t lanes = hn::Lanes(d);
    const auto scales = hn::Set(d, scale);
    const NormalLookup<D> lookup;
    for (; begin + lanes <= pairs; begin += lanes) {
        const auto pair = hn::PromoteTo(di, hn::LoadU(d8, codes + begin));
        take(d, hn::Mul(lookup(hn::And(pair, hn::Set(di, 15))), scales), low + begin);
        take(d, hn::Mul(lookup(hn::ShiftRight<4>(pair)), scales), high + begin);
    }
    return begin;
}

template <class Take>
HWY_INLINE void decode_blocks(const std::uint8_t* scales, const std::uint8_t* codes, float* target,
                              std::size_t count, Take take) {
    const hn::ScalableTag<float> d;
    const hn::CappedTag<float, 1> one;
    for (std::size_t begin = 0; begin < count; begin += kNormalBlock) {
        float scale;
        std::memcpy(&scale, scales + begin / kNormalBlock * sizeof(float), sizeof(float));
        const std::size_t size = std::min(kNormalBlock, count - begin), half = (size + 1) / 2,
                          pairs = size / 2;
        const std::uint8_t* bytes = codes + begin / 2;
        float *low = target + begin, *high = low + half;
        const std::size_t done = decode_pairs(d, bytes, scale, 0, pairs, low, high, take);
        decode_pairs(one, bytes, scale, done, pairs, low, high, take);
        if (half > pairs)
            take(one, hn::Mul(hn::Set(one, kNormalMap[bytes[pairs] & 15]), hn::Set(one, scale)), low + pairs);
    }
}

void decode_normal_kernel(const std::uint8_t* scales, const std::uint8_t* codes, float* values,
                          std::size_t count) {
    decode_blocks(scales, codes, values, count, StoreValues());
}

void scaled_add_normal_kernel(const std::uint8_t* scales, const std::uint8_t* codes, float factor, float* sum,
                              std::size_t count) {
    decode_blocks(scales, codes, sum, count, AddScaled{factor});
}

}  // namespace HWY_NAMESPACE
}  // namespace shoal::compress
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace shoal::compress {

HWY_EXPORT(encode_normal_kernel);
HWY_EXPORT(decode_normal_kernel);
HWY_EXPORT(scaled_add_normal_kernel);

void encode_normal(const float* values, std::size_t count, std::uint8_t* scales, std::uint8_t* codes) {
    HWY_DYNAMIC_DISPATCH(encode_normal_kernel)(values, count, scales, codes);
}

void decode_normal(const std::uint8_t* scales, const std::uint8_t* codes, float* values, std::size_t count) {
    HWY_DYNAMIC_DISPATCH(decode_normal_kernel)(scales, codes, values, count);
}

void scaled_add_normal(const std::uint8_t* scales, const std::uint8_t* codes, float factor, float* sum,
                       std::size_t count) {
    HWY_DYNAMIC_DISPATCH(scaled_add_normal_kernel)(scales, codes, factor, sum, count);
}

}  // namespace shoal::compress
#endif
