#include "shoal/compress/cast_kernels.h"

#include <cstring>

#include "shoal/compress/simd_config.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "shoal/compress/cast_kernels.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace shoal::compress {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// Unaligned access to bytes that hold other numbers. The scalar path would read through a misaligned pointer.
template <class D>
HWY_INLINE hn::Vec<D> load_bytes(D d, const std::uint8_t* bytes) {
    using T = hn::TFromD<D>;
#if HWY_TARGET == HWY_SCALAR
    T value;
    std::memcpy(&value, bytes, sizeof(T));
    return hn::Set(d, value);
#else
    return hn::LoadU(d, reinterpret_cast<const T*>(bytes));
#endif
}

template <class D>
HWY_INLINE void store_bytes(D d, hn::Vec<D> vector, std::uint8_t* bytes) {
    using T = hn::TFromD<D>;
#if HWY_TARGET == HWY_SCALAR
    (void)d;
    const T value = hn::GetLane(vector);
    std::memcpy(bytes, &value, sizeof(T));
#else
    hn::StoreU(vector, d, reinterpret_cast<T*>(bytes));
#endif
}

// F16C converts in hardware, and exactly as the integer code below does.
#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX2
#define SHOAL_HAVE_F16C 1
#else
#define SHOAL_HAVE_F16C 0
#endif

// A format says how a vector of floats is loaded from, and stored to, encoded bytes.

struct Fp32 {
    static constexpr std::size_t kBytes = 4;
    template <class D>
    static HWY_INLINE hn::Vec<D> load(D d, const std::uint8_t* bytes) {
        return load_bytes(d, bytes);
    }
};

struct Bf16 {
    static constexpr std::size_t kBytes = 2;

    template <class D>
    static HWY_INLINE hn::Vec<D> load(D d, const std::uint8_t* bytes) {
        const hn::Rebind<std::uint16_t, D> d16;
        const hn::RebindToUnsigned<D> d32;
        return hn::BitCast(d, hn::ShiftLeft<16>(hn::PromoteTo(d32, load_bytes(d16, bytes))));
    }

    template <class D>
    static HWY_INLINE void store(D, hn::Vec<D> values, std::uint8_t* bytes) {
        const hn::Rebind<std::uint16_t, D> d16;
        const hn::RebindToSigned<D> di;
        const auto bits = hn::BitCast(di, values);
        const auto sign = hn::And(hn::ShiftRight<16>(bits), hn::Set(di, 0x8000));
        const auto magnitude = hn::And(bits, hn::Set(di, 0x7FFFFFFF));
        // Round to nearest even by adding just below a half of the last kept bit, or that half when the bit
        // is set.
        const auto clamped = hn::Min(magnitude, hn::Set(di, 0x7F7F0000));
        const auto odd = hn::And(hn::ShiftRight<16>(clamped), hn::Set(di, 1));
        const auto rounded = hn::ShiftRight<16>(hn::Add(clamped, hn::Add(odd, hn::Set(di, 0x7FFF))));
        const auto infinity = hn::Set(di, 0x7F800000);
        const auto finite = hn::Lt(magnitude, infinity);
        const auto special =
            hn::IfThenElse(hn::Gt(magnitude, infinity), hn::Set(di, 0x7FC0), hn::Set(di, 0x7F80));
        store_bytes(d16, hn::DemoteTo(d16, hn::Or(sign, hn::IfThenElse(finite, rounded, special))), bytes);
    }
};

struct Fp16 {
    static constexpr std::size_t kBytes = 2;

    template <class D>
    static HWY_INLINE hn::Vec<D> load([[maybe_unused]] D d, const std::uint8_t* bytes) {
#if SHOAL_HAVE_F16C
        const hn::Rebind<hwy::float16_t, D> d16;
        return hn::PromoteTo(d, load_bytes(d16, bytes));
#else
        const hn::Rebind<std::uint16_t, D> d16;
        const hn::RebindToUnsigned<D> d32;
        const hn::RebindToSigned<D> di;
        const auto half = hn::PromoteTo(d32, load_bytes(d16, bytes));
        const auto sign = hn::ShiftLeft<16>(hn::And(half, hn::Set(d32, 0x8000)));
        const auto magnitude = hn::And(half, hn::Set(d32, 0x7FFF));
        const auto shifted = hn::ShiftLeft<13>(magnitude);
        const auto normal = hn::BitCast(di, hn::Add(shifted, hn::Set(d32, (127 - 15) << 23)));
        // Below 2^-14 the mantissa counts steps of 2^-24: put it into the mantissa of 2^-14 and take 2^-14
        // away.
        const auto base = hn::Set(d, 6.103515625e-05F);
        const auto tiny = hn::Sub(hn::BitCast(d, hn::Add(shifted, hn::BitCast(d32, base))), base);
        // Infinity and NaN; a signalling NaN becomes quiet, as in hardware.
        const auto signed_magnitude = hn::BitCast(di, magnitude);
        const auto quiet =
            hn::IfThenElseZero(hn::Gt(signed_magnitude, hn::Set(di, 0x7C00)), hn::Set(di, 0x00400000));
        const auto special = hn::Or(hn::Or(hn::BitCast(di, shifted), hn::Set(di, 0x7F800000)), quiet);
        auto result =
            hn::IfThenElse(hn::Lt(signed_magnitude, hn::Set(di, 0x0400)), hn::BitCast(di, tiny), normal);
        result = hn::IfThenElse(hn::Lt(signed_magnitude, hn::Set(di, 0x7C00)), result, special);
        return hn::BitCast(d, hn::Or(hn::BitCast(d32, result), sign));
#endif
    }

    template <class D>
    static HWY_INLINE void store([[maybe_unused]] D d, hn::Vec<D> values, std::uint8_t* bytes) {
        const hn::RebindToSigned<D> di;
        const auto bits = hn::BitCast(di, values);
        const auto sign = hn::And(bits, hn::Set(di, static_cast<std::int32_t>(0x80000000)));
        const auto magnitude = hn::Xor(bits, sign);
        const auto infinity = hn::Set(di, 0x7F800000);
        // 65504 for what is finite and larger; one NaN for all NaNs, whose payloads paths would treat
        // differently.
        auto clamped = hn::IfThenElse(hn::Lt(magnitude, infinity),
                                      hn::Min(magnitude, hn::Set(di, 0x477FE000)), magnitude);
        clamped = hn::IfThenElse(hn::Gt(magnitude, infinity), hn::Set(di, 0x7FC00000), clamped);
#if SHOAL_HAVE_F16C
        const hn::Rebind<hwy::float16_t, D> d16;
        store_bytes(d16, hn::DemoteTo(d16, hn::BitCast(d, hn::Or(clamped, sign))), bytes);
#else
        const hn::Rebind<std::uint16_t, D> d16;
        const hn::RebindToUnsigned<D> d32;
        // Normal numbers: change the exponent's bias and round to nearest even in one sum.
        const auto odd = hn::And(hn::ShiftRight<13>(clamped), hn::Set(di, 1));
        const auto bias = hn::Set(di, -((127 - 15) << 23) + 0xFFF);
        const auto normal = hn::ShiftRight<13>(hn::Add(hn::Add(clamped, bias), odd));
        // Below 2^-14 the result counts steps of 2^-24: adding 0.5, whose last bit is 2^-24, rounds to them.
        const auto half = hn::Set(d, 0.5F);
        const auto tiny =
            hn::Sub(hn::BitCast(di, hn::Add(hn::BitCast(d, clamped), half)), hn::BitCast(di, half));
        const auto special =
            hn::Or(hn::And(hn::ShiftRight<13>(clamped), hn::Set(di, 0x3FF)), hn::Set(di, 0x7C00));
        auto result = hn::IfThenElse(hn::Lt(clamped, hn::Set(di, 0x38800000)), tiny, normal);
        result = hn::IfThenElse(hn::Lt(clamped, infinity), result, special);
        const auto high_sign = hn::BitCast(di, hn::ShiftRight<16>(hn::BitCast(d32, sign)));
        store_bytes(d16, hn::DemoteTo(d16, hn::Or(result, high_sign)), bytes);
#endif
    }
};

// The loops, over whole vectors first and then value by value with the same code on vectors of one lane.

template <class Format, class D>
HWY_INLINE std::size_t encode_vectors(D d, const float* values, std::size_t begin, std::size_t count,
                                      std::uint8_t* encoded) {
    const std::size_t lanes = hn::Lanes(d);
    for (; begin + lanes <= count; begin += lanes) {
        Format::store(d, hn::LoadU(d, values + begin), encoded + begin * Format::kBytes);
    }
    return begin;
}

template <class Format>
HWY_INLINE void encode_all(const float* values, std::size_t count, std::uint8_t* encoded) {
    const std::size_t begin = encode_vectors<Format>(hn::ScalableTag<float>(), values, 0, count, encoded);
    encode_vectors<Format>(hn::CappedTag<float, 1>(), values, begin, count, encoded);
}

template <class Format, class D>
HWY_INLINE std::size_t decode_vectors(D d, const std::uint8_t* encoded, std::size_t begin, std::size_t count,
                                      float* values) {
    const std::size_t lanes = hn::Lanes(d);
    for (; begin + lanes <= count; begin += lanes) {
        hn::StoreU(Format::load(d, encoded + begin * Format::kBytes), d, values + begin);
    }
    return begin;
}

template <class Format>
HWY_INLINE void decode_all(const std::uint8_t* encoded, float* values, std::size_t count) {
    const std::size_t begin = decode_vectors<Format>(hn::ScalableTag<float>(), encoded, 0, count, values);
    decode_vectors<Format>(hn::CappedTag<float, 1>(), encoded, begin, count, values);
}

template <class Format, class D>
HWY_INLINE std::size_t scaled_add_vectors(D d, const std::uint8_t* encoded, float scale, std::size_t begin,
                                          std::size_t count, float* sum) {
    const std::size_t lanes = hn::Lanes(d);
    const auto factor = hn::Set(d, scale);
    for (; begin + lanes <= count; begin += lanes) {
        const auto product = hn::Mul(factor, Format::load(d, encoded + begin * Format::kBytes));
        hn::StoreU(hn::Add(hn::LoadU(d, sum + begin), product), d, sum + begin);
    }
    return begin;
}

template <class Format>
HWY_INLINE void scaled_add_all(const std::uint8_t* encoded, float scale, float* sum, std::size_t count) {
    const std::size_t begin =
        scaled_add_vectors<Format>(hn::ScalableTag<float>(), encoded, scale, 0, count, sum);
    scaled_add_vectors<Format>(hn::CappedTag<float, 1>(), encoded, scale, begin, count, sum);
}

void encode_fp16_kernel(const float* values, std::size_t count, std::uint8_t* encoded) {
    encode_all<Fp16>(values, count, encoded);
}
void encode_bf16_kernel(const float* values, std::size_t count, std::uint8_t* encoded) {
    encode_all<Bf16>(values, count, encoded);
}
void decode_fp16_kernel(const std::uint8_t* encoded, float* values, std::size_t count) {
    decode_all<Fp16>(encoded, values, count);
}
void decode_bf16_kernel(const std::uint8_t* encoded, float* values, std::size_t count) {
    decode_all<Bf16>(encoded, values, count);
}
void scaled_add_fp32_kernel(const std::uint8_t* encoded, float scale, float* sum, std::size_t count) {
    scaled_add_all<Fp32>(encoded, scale, sum, count);
}
void scaled_add_fp16_kernel(const std::uint8_t* encoded, float scale, float* sum, std::size_t count) {
    scaled_add_all<Fp16>(encoded, scale, sum, count);
}
void scaled_add_bf16_kernel(const std::uint8_t* encoded, float scale, float* sum, std::size_t count) {
    scaled_add_all<Bf16>(encoded, scale, sum, count);
}

#undef SHOAL_HAVE_F16C

}  // namespace HWY_NAMESPACE
}  // namespace shoal::compress
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace shoal::compress {

HWY_EXPORT(encode_fp16_kernel);
HWY_EXPORT(encode_bf16_kernel);
HWY_EXPORT(decode_fp16_kernel);
HWY_EXPORT(decode_bf16_kernel);
HWY_EXPORT(scaled_add_fp32_kernel);
HWY_EXPORT(scaled_add_fp16_kernel);
HWY_EXPORT(scaled_add_bf16_kernel);

void encode_fp16(const float* values, std::size_t count, std::uint8_t* encoded) {
    HWY_DYNAMIC_DISPATCH(encode_fp16_kernel)(values, count, encoded);
}
void encode_bf16(const float* values, std::size_t count, std::uint8_t* encoded) {
    HWY_DYNAMIC_DISPATCH(encode_bf16_kernel)(values, count, encoded);
}
void decode_fp16(const std::uint8_t* encoded, float* values, std::size_t count) {
    HWY_DYNAMIC_DISPATCH(decode_fp16_kernel)(encoded, values, count);
}
void decode_bf16(const std::uint8_t* encoded, float* values, std::size_t count) {
    HWY_DYNAMIC_DISPATCH(decode_bf16_kernel)(encoded, values, count);
}
void scaled_add_fp32(const std::uint8_t* encoded, float scale, float* sum, std::size_t count) {
    HWY_DYNAMIC_DISPATCH(scaled_add_fp32_kernel)(encoded, scale, sum, count);
}
void scaled_add_fp16(const std::uint8_t* encoded, float scale, float* sum, std::size_t count) {
    HWY_DYNAMIC_DISPATCH(scaled_add_fp16_kernel)(encoded, scale, sum, count);
}
void scaled_add_bf16(const std::uint8_t* encoded, float scale, float* sum, std::size_t count) {
    HWY_DYNAMIC_DISPATCH(scaled_add_bf16_kernel)(encoded, scale, sum, count);
}

}  // namespace shoal::compress
#endif
