#include "shoal/compress/blockwise_kernels.h"

#include <cstring>

#include "shoal/compress/dynamic_map.h"
#include "shoal/compress/not_finite.h"
#include "shoal/compress/simd_config.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "shoal/compress/blockwise_kernels.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "shoal/compress/largest_magnitude-inl.h"

HWY_BEFORE_NAMESPACE();
namespace shoal::compress {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// AVX2 and AVX-512 instructions that Highway reaches only with extra checks which are of no use here. They
// are written for vectors of 8 and 16 lanes; shorter ones (the last few values of a block) take the portable
// way.
#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX2
#define SHOAL_HAVE_PERMUTE 1
#else
#define SHOAL_HAVE_PERMUTE 0
#endif

template <class D>
inline constexpr bool kPermutes = SHOAL_HAVE_PERMUTE && hn::MaxLanes(D()) >= 8;

#if SHOAL_HAVE_PERMUTE
HWY_INLINE hn::Vec256<float> permute(hn::Vec256<float> table, hn::Vec256<std::int32_t> positions) {
    return hn::Vec256<float>{_mm256_permutevar8x32_ps(table.raw, positions.raw)};
}
HWY_INLINE hn::Vec256<std::int32_t> truncate(hn::Vec256<float> values) {
    return hn::Vec256<std::int32_t>{_mm256_cvttps_epi32(values.raw)};
}
#if HWY_TARGET <= HWY_AVX3
HWY_INLINE hn::Vec512<float> permute(hn::Vec512<float> table, hn::Vec512<std::int32_t> positions) {
    return hn::Vec512<float>{_mm512_permutexvar_ps(positions.raw, table.raw)};
}
HWY_INLINE hn::Vec512<std::int32_t> truncate(hn::Vec512<float> values) {
    return hn::Vec512<std::int32_t>{_mm512_cvttps_epi32(values.raw)};
}
#endif
#endif

/// Drops the fraction. The values are far from the limits of an integer.
template <class D>
HWY_INLINE hn::Vec<hn::RebindToSigned<D>> to_integers(D, hn::Vec<D> values) {
#if SHOAL_HAVE_PERMUTE
    if constexpr (kPermutes<D>) return truncate(values);
#endif
    return hn::ConvertTo(hn::RebindToSigned<D>(), values);
}

/// integers + 1 where a > b, integers elsewhere.
template <class D>
HWY_INLINE hn::Vec<hn::RebindToSigned<D>> add_one_where_greater(D, hn::Vec<hn::RebindToSigned<D>> integers,
                                                                hn::Vec<D> a, hn::Vec<D> b) {
    const hn::RebindToSigned<D> di;
#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX3
    if constexpr (hn::MaxLanes(D()) == 16) {
        const auto mask = _mm512_cmp_ps_mask(a.raw, b.raw, _CMP_GT_OQ);
        return hn::Vec<decltype(di)>{
            _mm512_mask_add_epi32(integers.raw, mask, integers.raw, _mm512_set1_epi32(1))};
    }
#endif
    // A true mask is -1 in each lane.
    return hn::Sub(integers, hn::VecFromMask(di, hn::RebindMask(di, hn::Gt(a, b))));
}

/// An eight-entry table of floats that is read at a vector of positions, of which the lowest three bits
/// count: from a register where the instruction set can, from memory elsewhere.
template <class D>
class Lookup {
  public:
    using Positions = hn::Vec<hn::RebindToSigned<D>>;

    explicit HWY_INLINE Lookup(const DynamicMap::Table& table) : memory_(table.data()) {
        if constexpr (kPermutes<D>) vector_ = hn::Load(D(), memory_);
    }

    HWY_INLINE hn::Vec<D> operator()(Positions positions) const {
#if SHOAL_HAVE_PERMUTE
        if constexpr (kPermutes<D>) return permute(vector_, positions);
#endif
        return hn::GatherIndex(D(), memory_, hn::And(positions, hn::Set(hn::RebindToSigned<D>(), 7)));
    }

  private:
    const float* memory_;
    hn::Vec<D> vector_ = hn::Undefined(D());
};

/// floor(exponent / 3) for the exponents of floats.
template <class D>
HWY_INLINE hn::Vec<D> third(D d, hn::Vec<D> exponent) {
#if HWY_TARGET == HWY_SCALAR
    return hn::Set(d, hn::GetLane(exponent) / 3);
#else
    const hn::Repartition<std::uint16_t, D> d16;
    return hn::BitCast(d, hn::MulHigh(hn::BitCast(d16, exponent), hn::Set(d16, std::uint16_t{21846})));
#endif
}

template <class D>
class Encoder {
  public:
    using DI = hn::RebindToSigned<D>;

    /// Values are multiplied by both factors, in this order, to become twice their share of the block's
    /// largest.
    HWY_INLINE Encoder(float first_factor, float second_factor)
        : first_factor_(hn::Set(D(), first_factor)), second_factor_(hn::Set(D(), second_factor)) {}

    template <bool kTwoFactors>
    HWY_INLINE hn::Vec<DI> codes(hn::Vec<D> values) const {
        const D d;
        const DI di;
        auto scaled = values;
        if constexpr (kTwoFactors) scaled = hn::Mul(scaled, first_factor_);
        scaled = hn::Mul(scaled, second_factor_);
        const auto share = hn::Max(hn::Abs(scaled), hn::Set(d, 0x1p-22F));
        const auto exponent = hn::ShiftRight<23>(hn::BitCast(di, share));
        const auto octaves = third(di, exponent);
        const auto line = add_one_where_greater(d, octaves, share, border_(octaves));
        const auto exact = hn::Add(hn::Mul(share, slope_(line)), intercept_(line));
        const auto capped = hn::CopySignToAbs(hn::Min(exact, cap_(line)), scaled);
        return hn::Add(to_integers(d, capped),
                       hn::Set(di, 127));  // -1 for a share of -1: saturates to 0 when stored
    }

  private:
    hn::Vec<D> first_factor_, second_factor_;
    Lookup<D> border_{kDynamicMap.border}, slope_{kDynamicMap.slope}, intercept_{kDynamicMap.intercept},
        cap_{kDynamicMap.cap};
};

template <class DI>
HWY_INLINE void store_codes(DI, hn::Vec<DI> codes, std::uint8_t* bytes) {
    const hn::Rebind<std::uint8_t, DI> d8;
    hn::StoreU(hn::DemoteTo(d8, codes), d8, bytes);
}

#if SHOAL_HAVE_PERMUTE
/// Four vectors at once: the packing instructions interleave 128-bit lanes, one permutation puts all in
/// order.
template <class DI, class V>
HWY_INLINE void store_four_codes(DI di, V a, V b, V c, V e, std::uint8_t* bytes) {
#if HWY_TARGET <= HWY_AVX3
    const __m512i packed =
        _mm512_packus_epi16(_mm512_packs_epi32(a.raw, b.raw), _mm512_packs_epi32(c.raw, e.raw));
    alignas(64) static constexpr std::int32_t kOrder[16] = {0, 4, 8,  12, 1, 5, 9,  13,
                                                            2, 6, 10, 14, 3, 7, 11, 15};
    _mm512_storeu_si512(bytes, _mm512_permutexvar_epi32(hn::Load(di, kOrder).raw, packed));
#else
    const __m256i packed =
        _mm256_packus_epi16(_mm256_packs_epi32(a.raw, b.raw), _mm256_packs_epi32(c.raw, e.raw));
    alignas(32) static constexpr std::int32_t kOrder[8] = {0, 4, 1, 5, 2, 6, 3, 7};
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(bytes),
                        _mm256_permutevar8x32_epi32(packed, hn::Load(di, kOrder).raw));
#endif
}
#endif

inline constexpr std::size_t kCacheLine = 64;

template <bool kTwoFactors>
HWY_INLINE void encode_values(const float* values, std::size_t count, float first, float second,
                              std::uint8_t* codes) {
    const hn::ScalableTag<float> d;
    const hn::RebindToSigned<decltype(d)> di;
    const std::size_t lanes = hn::Lanes(d);
    const Encoder<decltype(d)> encoder(first, second);
    std::size_t i = 0;
#if SHOAL_HAVE_PERMUTE
    for (; i + 4 * lanes <= count; i += 4 * lanes) {
        // While this block keeps the processor busy, memory brings the next one. (Past the end that is
        // harmless.)
        for (std::size_t line = 0; line < 4 * lanes; line += kCacheLine / sizeof(float)) {
            __builtin_prefetch(values + i + kBlockSize + line);
        }
        const auto a = encoder.template codes<kTwoFactors>(hn::LoadU(d, values + i));
        const auto b = encoder.template codes<kTwoFactors>(hn::LoadU(d, values + i + lanes));
        const auto c = encoder.template codes<kTwoFactors>(hn::LoadU(d, values + i + 2 * lanes));
        const auto e = encoder.template codes<kTwoFactors>(hn::LoadU(d, values + i + 3 * lanes));
        store_four_codes(di, a, b, c, e, codes + i);
    }
#endif
    for (; i + lanes <= count; i += lanes) {
        store_codes(di, encoder.template codes<kTwoFactors>(hn::LoadU(d, values + i)), codes + i);
    }
    const hn::CappedTag<float, 1> one;
    const Encoder<decltype(one)> single(first, second);
    for (; i < count; ++i) {
        store_codes(hn::RebindToSigned<decltype(one)>(),
                    single.template codes<kTwoFactors>(hn::LoadU(one, values + i)), codes + i);
    }
}

float encode_block_kernel(const float* values, std::size_t count, std::uint8_t* codes) {
    const std::int32_t bits = largest_magnitude(values, count);
    if (bits >= kInfinityBits) {
        std::memset(codes, 127, count);
        return not_finite_mark();
    }
    float largest;
    std::memcpy(&largest, &bits, sizeof(largest));
    if (bits == 0) {
        std::memset(codes, 127, count);
    } else if (largest > 0x1p100F) {
        // The reciprocal would be a denormal number, and inexact: bring the block to the middle of the range
        // first.
        encode_values<true>(values, count, 0x1p-64F, 2.0F / (largest * 0x1p-64F), codes);
    } else if (largest < 0x1p-100F) {
        encode_values<true>(values, count, 0x1p64F, 2.0F / (largest * 0x1p64F), codes);
    } else {
        encode_values<false>(values, count, 1.0F, 2.0F / largest, codes);
    }
    return largest;
}

template <class D>
class Decoder {
  public:
    using DI = hn::RebindToSigned<D>;

    explicit HWY_INLINE Decoder(float scale) : scale_(hn::Set(D(), scale)) {}

    HWY_INLINE hn::Vec<D> values(const std::uint8_t* codes) const {
        const D d;
        const DI di;
        const hn::Rebind<std::uint8_t, D> d8;
        const auto signed_m = hn::Sub(hn::PromoteTo(di, hn::LoadU(d8, codes)), hn::Set(di, 127));
        const auto converted = hn::ConvertTo(d, signed_m);
        const auto m = hn::Max(hn::Abs(converted), hn::Set(d, 0.5F));
        const auto exponent = hn::ShiftRight<23>(hn::BitCast(di, m));
        const auto magnitude = hn::Mul(hn::Add(m, offset_(exponent)), width_(exponent));
        return hn::Mul(hn::CopySignToAbs(magnitude, converted), scale_);
    }

  private:
    hn::Vec<D> scale_;
    Lookup<D> offset_{kDynamicMap.offset}, width_{kDynamicMap.width};
};

template <class D>
HWY_INLINE std::size_t decode_vectors(D d, const std::uint8_t* codes, float scale, std::size_t begin,
                                      std::size_t count, float* values) {
    const std::size_t lanes = hn::Lanes(d);
    const Decoder<D> decoder(scale);
    for (; begin + lanes <= count; begin += lanes)
        hn::StoreU(decoder.values(codes + begin), d, values + begin);
    return begin;
}

void decode_block_kernel(const std::uint8_t* codes, float scale, float* values, std::size_t count) {
    const std::size_t begin = decode_vectors(hn::ScalableTag<float>(), codes, scale, 0, count, values);
    decode_vectors(hn::CappedTag<float, 1>(), codes, scale, begin, count, values);
}

template <class D>
HWY_INLINE std::size_t scaled_add_vectors(D d, const std::uint8_t* codes, float scale, float factor,
                                          std::size_t begin, std::size_t count, float* sum) {
    const std::size_t lanes = hn::Lanes(d);
    const Decoder<D> decoder(scale);
    const auto factors = hn::Set(d, factor);
    for (; begin + lanes <= count; begin += lanes) {
        const auto product = hn::Mul(factors, decoder.values(codes + begin));
        hn::StoreU(hn::Add(hn::LoadU(d, sum + begin), product), d, sum + begin);
    }
    return begin;
}

void scaled_add_block_kernel(const std::uint8_t* codes, float scale, float factor, float* sum,
                             std::size_t count) {
    const std::size_t begin =
        scaled_add_vectors(hn::ScalableTag<float>(), codes, scale, factor, 0, count, sum);
    scaled_add_vectors(hn::CappedTag<float, 1>(), codes, scale, factor, begin, count, sum);
}

#undef SHOAL_HAVE_PERMUTE

}  // namespace HWY_NAMESPACE
}  // namespace shoal::compress
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace shoal::compress {

HWY_EXPORT(encode_block_kernel);
HWY_EXPORT(decode_block_kernel);
HWY_EXPORT(scaled_add_block_kernel);

float encode_block(const float* values, std::size_t count, std::uint8_t* codes) {
    return HWY_DYNAMIC_DISPATCH(encode_block_kernel)(values, count, codes);
}

void decode_block(const std::uint8_t* codes, float scale, float* values, std::size_t count) {
    HWY_DYNAMIC_DISPATCH(decode_block_kernel)(codes, scale, values, count);
}

void scaled_add_block(const std::uint8_t* codes, float scale, float factor, float* sum, std::size_t count) {
    HWY_DYNAMIC_DISPATCH(scaled_add_block_kernel)(codes, scale, factor, sum, count);
}

}  // namespace shoal::compress
#endif
