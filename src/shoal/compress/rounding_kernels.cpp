#include "shoal/compress/rounding_kernels.h"

#include <cmath>
#include <limits>

#include "shoal/compress/not_finite.h"
#include "shoal/compress/simd_config.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "shoal/compress/rounding_kernels.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "shoal/compress/counter_random-inl.h"
#include "shoal/compress/fixed_order-inl.h"
#include "shoal/compress/sign_bits-inl.h"

HWY_BEFORE_NAMESPACE();
namespace shoal::compress {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

/// f(d, i) for whole vectors first, and then value by value with vectors of one lane.
template <class Function>
HWY_INLINE void for_each_vector(std::size_t count, Function f) {
    const hn::CappedTag<float, 16> d;
    const std::size_t lanes = hn::Lanes(d);
    std::size_t i = 0;
    for (; i + lanes <= count; i += lanes) f(d, i);
    for (; i < count; ++i) f(hn::CappedTag<float, 1>(), i);
}

/// The lots of the positions from here on.
template <class DU>
HWY_INLINE hn::Vec<DU> lots_at(DU du, CounterKeys keys, std::size_t position) {
    const CounterNumbers<DU> numbers(keys);
    return numbers(hn::Iota(du, static_cast<std::uint32_t>(position)));
}

// The decoders: values(d, i) is a vector of those from the i-th on.

class NaturalValues {
  public:
    NaturalValues(const std::uint8_t* exponents, const std::uint8_t* signs)
        : exponents_(exponents), signs_(signs) {}

    template <class D>
    HWY_INLINE hn::Vec<D> operator()(D d, std::size_t i) const {
        const hn::RebindToUnsigned<D> du;
        const hn::Rebind<std::uint8_t, D> d8;
        const auto exponent = hn::PromoteTo(du, hn::LoadU(d8, exponents_ + i));
        const auto special = hn::VecFromMask(du, hn::Eq(exponent, hn::Set(du, 255)));
        const auto quiet = hn::And(special, hn::Set(du, 0x00400000));
        const auto magnitude = hn::Or(hn::ShiftLeft<23>(exponent), quiet);
        return hn::BitCast(d, hn::Or(magnitude, read_signs(du, signs_, i)));
    }

  private:
    const std::uint8_t* exponents_;
    const std::uint8_t* signs_;
};

class SignValues {
  public:
    SignValues(const std::uint8_t* bits, float scale) : bits_(bits), scale_(scale) {}

    template <class D>
    HWY_INLINE hn::Vec<D> operator()(D d, std::size_t i) const {
        const hn::RebindToUnsigned<D> du;
        return hn::BitCast(d, hn::Or(hn::BitCast(du, hn::Set(d, scale_)), read_signs(du, bits_, i)));
    }

  private:
    const std::uint8_t* bits_;
    float scale_;
};

class StepValues {
  public:
    StepValues(const std::uint8_t* codes, float norm, unsigned steps)
        : codes_(codes),
          norm_(norm),
          step_(norm / static_cast<float>(steps)),
          zero_(static_cast<std::int32_t>(steps)) {}

    template <class D>
    HWY_INLINE hn::Vec<D> operator()(D d, std::size_t i) const {
        const hn::RebindToSigned<D> di;
        const hn::Rebind<std::uint8_t, D> d8;
        const auto code = hn::Sub(hn::PromoteTo(di, hn::LoadU(d8, codes_ + i)), hn::Set(di, zero_));
        const auto value = hn::Mul(hn::ConvertTo(d, code), hn::Set(d, step_));
        // The last step may be rounded to beyond the norm, and that to infinity.
        return hn::Max(hn::Min(value, hn::Set(d, norm_)), hn::Set(d, -norm_));
    }

  private:
    const std::uint8_t* codes_;
    float norm_, step_;
    std::int32_t zero_;
};

template <class Values>
HWY_INLINE void decode_all(const Values& decoder, float* values, std::size_t count) {
    for_each_vector(count, [&](auto d, std::size_t i) HWY_ATTR { hn::StoreU(decoder(d, i), d, values + i); });
}

template <class Values>
HWY_INLINE void scaled_add_all(const Values& decoder, float factor, float* sum, std::size_t count) {
    for_each_vector(count, [&](auto d, std::size_t i) HWY_ATTR {
        const auto product = hn::Mul(hn::Set(d, factor), decoder(d, i));
        hn::StoreU(hn::Add(hn::LoadU(d, sum + i), product), d, sum + i);
    });
}

void encode_natural_kernel(const float* values, std::size_t count, CounterKeys keys, std::size_t begin,
                           std::uint8_t* exponents) {
    for_each_vector(count, [&](auto d, std::size_t i) HWY_ATTR {
        const hn::RebindToSigned<decltype(d)> di;
        const hn::RebindToUnsigned<decltype(d)> du;
        const hn::Rebind<std::uint8_t, decltype(d)> d8;
        const auto magnitude = hn::And(hn::BitCast(di, hn::LoadU(d, values + i)), hn::Set(di, 0x7FFFFFFF));
        const auto lot = hn::BitCast(di, hn::ShiftRight<9>(lots_at(du, keys, begin + i)));
        const auto rounded = hn::ShiftRight<23>(hn::Add(magnitude, lot));
        const auto finite = hn::Lt(magnitude, hn::Set(di, 0x7F800000));
        const auto exponent = hn::IfThenElse(finite, hn::Min(rounded, hn::Set(di, 254)), hn::Set(di, 255));
        hn::StoreU(hn::DemoteTo(d8, exponent), d8, exponents + i);
    });
}
void decode_natural_kernel(const std::uint8_t* exponents, const std::uint8_t* signs, float* values,
                           std::size_t count) {
    decode_all(NaturalValues(exponents, signs), values, count);
}
void scaled_add_natural_kernel(const std::uint8_t* exponents, const std::uint8_t* signs, float factor,
                               float* sum, std::size_t count) {
    scaled_add_all(NaturalValues(exponents, signs), factor, sum, count);
}

void encode_signs_kernel(const float* values, std::size_t count, std::uint8_t* bits) {
    write_signs(values, count, bits);
}
void decode_signs_kernel(const std::uint8_t* bits, float scale, float* values, std::size_t count) {
    decode_all(SignValues(bits, scale), values, count);
}
void scaled_add_signs_kernel(const std::uint8_t* bits, float scale, float factor, float* sum,
                             std::size_t count) {
    scaled_add_all(SignValues(bits, scale), factor, sum, count);
}

double sum_of_squares_kernel(const float* values, std::size_t count) {
    return sum_of_squares(values, count);
}
double sum_of_magnitudes_kernel(const float* values, std::size_t count) {
    return sum_of_magnitudes(values, count);
}

void encode_steps_kernel(const float* values, std::size_t count, float norm, unsigned steps, CounterKeys keys,
                         std::size_t begin, std::uint8_t* codes) {
    // A power of two that brings the norm to where its reciprocal is a normal number.
    const float near = norm > 0x1p100F ? 0x1p-64F : norm < 0x1p-100F ? 0x1p64F : 1.0F;
    const auto last = static_cast<float>(steps);
    const float slope = last / (norm * near);
    for_each_vector(count, [&](auto d, std::size_t i) HWY_ATTR {
        const hn::RebindToSigned<decltype(d)> di;
        const hn::RebindToUnsigned<decltype(d)> du;
        const hn::Rebind<std::uint8_t, decltype(d)> d8;
        const auto value = hn::LoadU(d, values + i);
        const auto exact = hn::Mul(hn::Mul(hn::Abs(value), hn::Set(d, near)), hn::Set(d, slope));
        const auto lot = hn::BitCast(di, hn::ShiftRight<8>(lots_at(du, keys, begin + i)));
        const auto raised = hn::Add(exact, hn::Mul(hn::ConvertTo(d, lot), hn::Set(d, 0x1p-24F)));
        const auto step = hn::ConvertTo(di, hn::Min(raised, hn::Set(d, last)));
        // The sign, as 0 or -1: x ^ -1 - -1 is -x.
        const auto sign = hn::ShiftRight<31>(hn::BitCast(di, value));
        const auto code =
            hn::Add(hn::Sub(hn::Xor(step, sign), sign), hn::Set(di, static_cast<std::int32_t>(steps)));
        hn::StoreU(hn::DemoteTo(d8, code), d8, codes + i);
    });
}
void decode_steps_kernel(const std::uint8_t* codes, float norm, unsigned steps, float* values,
                         std::size_t count) {
    decode_all(StepValues(codes, norm, steps), values, count);
}
void scaled_add_steps_kernel(const std::uint8_t* codes, float norm, unsigned steps, float factor, float* sum,
                             std::size_t count) {
    scaled_add_all(StepValues(codes, norm, steps), factor, sum, count);
}

}  // namespace HWY_NAMESPACE
}  // namespace shoal::compress
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace shoal::compress {

HWY_EXPORT(encode_natural_kernel);
HWY_EXPORT(decode_natural_kernel);
HWY_EXPORT(scaled_add_natural_kernel);
HWY_EXPORT(encode_signs_kernel);
HWY_EXPORT(decode_signs_kernel);
HWY_EXPORT(scaled_add_signs_kernel);
HWY_EXPORT(sum_of_squares_kernel);
HWY_EXPORT(sum_of_magnitudes_kernel);
HWY_EXPORT(encode_steps_kernel);
HWY_EXPORT(decode_steps_kernel);
HWY_EXPORT(scaled_add_steps_kernel);

void encode_natural(const float* values, std::size_t count, CounterKeys keys, std::size_t begin,
                    std::uint8_t* exponents) {
    HWY_DYNAMIC_DISPATCH(encode_natural_kernel)(values, count, keys, begin, exponents);
}

void decode_natural(const std::uint8_t* exponents, const std::uint8_t* signs, float* values,
                    std::size_t count) {
    HWY_DYNAMIC_DISPATCH(decode_natural_kernel)(exponents, signs, values, count);
}

void scaled_add_natural(const std::uint8_t* exponents, const std::uint8_t* signs, float factor, float* sum,
                        std::size_t count) {
    HWY_DYNAMIC_DISPATCH(scaled_add_natural_kernel)(exponents, signs, factor, sum, count);
}

void encode_signs(const float* values, std::size_t count, std::uint8_t* bits) {
    HWY_DYNAMIC_DISPATCH(encode_signs_kernel)(values, count, bits);
}

void decode_signs(const std::uint8_t* bits, float scale, float* values, std::size_t count) {
    HWY_DYNAMIC_DISPATCH(decode_signs_kernel)(bits, scale, values, count);
}

void scaled_add_signs(const std::uint8_t* bits, float scale, float factor, float* sum, std::size_t count) {
    HWY_DYNAMIC_DISPATCH(scaled_add_signs_kernel)(bits, scale, factor, sum, count);
}

// No sum of squares of a block overflows a double: it is finite if all values are.

float mean_magnitude(const float* values, std::size_t count) {
    const double sum = HWY_DYNAMIC_DISPATCH(sum_of_magnitudes_kernel)(values, count);
    return std::isfinite(sum) ? static_cast<float>(sum / static_cast<double>(count)) : not_finite_mark();
}

float euclidean_norm(const float* values, std::size_t count) {
    const double sum = HWY_DYNAMIC_DISPATCH(sum_of_squares_kernel)(values, count);
    if (!std::isfinite(sum)) return not_finite_mark();
    constexpr double kLargest = std::numeric_limits<float>::max();
    return static_cast<float>(std::min(std::sqrt(sum), kLargest));
}

void encode_steps(const float* values, std::size_t count, float norm, unsigned steps, CounterKeys keys,
                  std::size_t begin, std::uint8_t* codes) {
    HWY_DYNAMIC_DISPATCH(encode_steps_kernel)(values, count, norm, steps, keys, begin, codes);
}

void decode_steps(const std::uint8_t* codes, float norm, unsigned steps, float* values, std::size_t count) {
    HWY_DYNAMIC_DISPATCH(decode_steps_kernel)(codes, norm, steps, values, count);
}

void scaled_add_steps(const std::uint8_t* codes, float norm, unsigned steps, float factor, float* sum,
                      std::size_t count) {
    HWY_DYNAMIC_DISPATCH(scaled_add_steps_kernel)(codes, norm, steps, factor, sum, count);
}

}  // namespace shoal::compress
#endif
