#include "shoal/compress/uniform_kernels.h"

#include <cstring>

#include "shoal/compress/not_finite.h"
#include "shoal/compress/simd_config.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "shoal/compress/uniform_kernels.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "shoal/compress/largest_magnitude-inl.h"

HWY_BEFORE_NAMESPACE();
namespace shoal::compress {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

/// Of finite values. The order of comparisons changes only the sign of a zero, which the sums take away.
HWY_INLINE UniformRange find_range(const float* values, std::size_t count) {
    const hn::ScalableTag<float> d;
    const std::size_t lanes = hn::Lanes(d);
    auto low0 = hn::Set(d, values[0]), high0 = low0, low1 = low0, high1 = low0;
    std::size_t i = 0;
    for (; i + 2 * lanes <= count; i += 2 * lanes) {
        const auto a = hn::LoadU(d, values + i), b = hn::LoadU(d, values + i + lanes);
        low0 = hn::Min(low0, a);
        high0 = hn::Max(high0, a);
        low1 = hn::Min(low1, b);
        high1 = hn::Max(high1, b);
    }
    UniformRange range;
    range.low = hn::GetLane(hn::MinOfLanes(d, hn::Min(low0, low1)));
    range.high = hn::GetLane(hn::MaxOfLanes(d, hn::Max(high0, high1)));
    for (; i < count; ++i) {
        if (values[i] < range.low) range.low = values[i];
        if (values[i] > range.high) range.high = values[i];
    }
    range.low += 0.0F;
    range.high += 0.0F;
    return range;
}

/// How a value becomes a code: everything is multiplied by `factor` first, a power of two that brings the
/// range to where neither the difference nor its reciprocal overflows.
struct UniformScale {
    explicit UniformScale(UniformRange range) {
        const float half = range.high * 0.5F - range.low * 0.5F;
        if (half > 0x1p100F) factor = 0x1p-64F;
        if (half < 0x1p-100F) factor = 0x1p64F;
        low = range.low * factor;
        slope = 255.0F / (range.high * factor - low);
    }
    float factor = 1, low = 0, slope = 0;
};

template <class D>
HWY_INLINE std::size_t encode_vectors(D d, const float* values, std::size_t begin, std::size_t count,
                                      UniformScale scale, std::uint8_t* codes) {
    const hn::RebindToSigned<D> di;
    const hn::Rebind<std::uint8_t, D> d8;
    const std::size_t lanes = hn::Lanes(d);
    const auto factor = hn::Set(d, scale.factor), low = hn::Set(d, scale.low),
               slope = hn::Set(d, scale.slope);
    const auto half = hn::Set(d, 0.5F);
    for (; begin + lanes <= count; begin += lanes) {
        const auto above = hn::Sub(hn::Mul(hn::LoadU(d, values + begin), factor), low);
        const auto code = hn::ConvertTo(di, hn::Add(hn::Mul(above, slope), half));
        hn::StoreU(hn::DemoteTo(d8, code), d8, codes + begin);
    }
    return begin;
}

UniformRange encode_uniform_kernel(const float* values, std::size_t count, std::uint8_t* codes) {
    UniformRange range;
    if (largest_magnitude(values, count) >= kInfinityBits) {
        std::memset(codes, 0, count);
        range.low = range.high = not_finite_mark();
        return range;
    }
    range = find_range(values, count);
    if (range.low == range.high) {
        std::memset(codes, 0, count);
        return range;
    }
    const UniformScale scale(range);
    const std::size_t begin = encode_vectors(hn::ScalableTag<float>(), values, 0, count, scale, codes);
    encode_vectors(hn::CappedTag<float, 1>(), values, begin, count, scale, codes);
    return range;
}

template <class D>
class UniformDecoder {
  public:
    explicit HWY_INLINE UniformDecoder(UniformRange range)
        : low_(hn::Set(D(), range.low)),
          high_(hn::Set(D(), range.high)),
          middle_(hn::Set(D(), range.low * 0.5F + range.high * 0.5F)),
          step_(hn::Set(D(), range.high / 255.0F - range.low / 255.0F)) {}

    HWY_INLINE hn::Vec<D> values(const std::uint8_t* codes) const {
        const D d;
        const hn::Rebind<std::uint8_t, D> d8;
        const hn::RebindToSigned<D> di;
        const auto code = hn::ConvertTo(d, hn::PromoteTo(di, hn::LoadU(d8, codes)));
        const auto value = hn::Add(middle_, hn::Mul(hn::Sub(code, hn::Set(d, 127.5F)), step_));
        return hn::Min(hn::Max(value, low_), high_);
    }

  private:
    hn::Vec<D> low_, high_, middle_, step_;
};

template <class D>
HWY_INLINE std::size_t decode_vectors(D d, const std::uint8_t* codes, UniformRange range, std::size_t begin,
                                      std::size_t count, float* values) {
    const std::size_t lanes = hn::Lanes(d);
    const UniformDecoder<D> decoder(range);
    for (; begin + lanes <= count; begin += lanes)
        hn::StoreU(decoder.values(codes + begin), d, values + begin);
    return begin;
}

void decode_uniform_kernel(const std::uint8_t* codes, UniformRange range, float* values, std::size_t count) {
    const std::size_t begin = decode_vectors(hn::ScalableTag<float>(), codes, range, 0, count, values);
    decode_vectors(hn::CappedTag<float, 1>(), codes, range, begin, count, values);
}

template <class D>
HWY_INLINE std::size_t scaled_add_vectors(D d, const std::uint8_t* codes, UniformRange range, float factor,
                                          std::size_t begin, std::size_t count, float* sum) {
    const std::size_t lanes = hn::Lanes(d);
    const UniformDecoder<D> decoder(range);
    const auto factors = hn::Set(d, factor);
    for (; begin + lanes <= count; begin += lanes) {
        const auto product = hn::Mul(factors, decoder.values(codes + begin));
        hn::StoreU(hn::Add(hn::LoadU(d, sum + begin), product), d, sum + begin);
    }
    return begin;
}

void scaled_add_uniform_kernel(const std::uint8_t* codes, UniformRange range, float factor, float* sum,
                               std::size_t count) {
    const std::size_t begin =
        scaled_add_vectors(hn::ScalableTag<float>(), codes, range, factor, 0, count, sum);
    scaled_add_vectors(hn::CappedTag<float, 1>(), codes, range, factor, begin, count, sum);
}

}  // namespace HWY_NAMESPACE
}  // namespace shoal::compress
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace shoal::compress {

HWY_EXPORT(encode_uniform_kernel);
HWY_EXPORT(decode_uniform_kernel);
HWY_EXPORT(scaled_add_uniform_kernel);

UniformRange encode_uniform(const float* values, std::size_t count, std::uint8_t* codes) {
    return HWY_DYNAMIC_DISPATCH(encode_uniform_kernel)(values, count, codes);
}

void decode_uniform(const std::uint8_t* codes, UniformRange range, float* values, std::size_t count) {
    HWY_DYNAMIC_DISPATCH(decode_uniform_kernel)(codes, range, values, count);
}

void scaled_add_uniform(const std::uint8_t* codes, UniformRange range, float factor, float* sum,
                        std::size_t count) {
    HWY_DYNAMIC_DISPATCH(scaled_add_uniform_kernel)(codes, range, factor, sum, count);
}

}  // namespace shoal::compress
#endif
