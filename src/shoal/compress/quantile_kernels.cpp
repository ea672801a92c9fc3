#include "shoal/compress/quantile_kernels.h"

#include <array>
#include <limits>

#include "shoal/compress/simd_config.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "shoal/compress/quantile_kernels.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "shoal/compress/largest_magnitude-inl.h"

HWY_BEFORE_NAMESPACE();
namespace shoal::compress {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

bool has_not_finite_kernel(const float* values, std::size_t count) {
    return largest_magnitude(values, count) >= kInfinityBits;
}

/// @param borders  borders[k] lies between entry k and entry k + 1; infinite where there is none.
template <class D>
HWY_INLINE std::size_t encode_vectors(D d, const float* values, std::size_t begin, std::size_t count,
                                      const float* borders, std::uint8_t* codes) {
    const hn::RebindToSigned<D> di;
    const hn::Rebind<std::uint8_t, D> d8;
    const std::size_t lanes = hn::Lanes(d);
    const auto look = [&](hn::Vec<D> value, hn::Vec<decltype(di)> code, std::int32_t step) HWY_ATTR {
        const auto border = hn::GatherIndex(d, borders + (step - 1), code);
        const auto above = hn::VecFromMask(di, hn::RebindMask(di, hn::Gt(value, border)));
        return hn::Add(code, hn::And(above, hn::Set(di, step)));
    };
    // Two searches at once: each alone waits for its memory most of the time.
    for (; begin + 2 * lanes <= count; begin += 2 * lanes) {
        const auto a = hn::LoadU(d, values + begin), b = hn::LoadU(d, values + begin + lanes);
        auto code_a = hn::Zero(di), code_b = hn::Zero(di);
        for (std::int32_t step = kQuantileCodes / 2; step > 0; step /= 2) {
            code_a = look(a, code_a, step);
            code_b = look(b, code_b, step);
        }
        hn::StoreU(hn::DemoteTo(d8, code_a), d8, codes + begin);
        hn::StoreU(hn::DemoteTo(d8, code_b), d8, codes + begin + lanes);
    }
    for (; begin + lanes <= count; begin += lanes) {
        const auto value = hn::LoadU(d, values + begin);
        auto code = hn::Zero(di);
        for (std::int32_t step = kQuantileCodes / 2; step > 0; step /= 2) code = look(value, code, step);
        hn::StoreU(hn::DemoteTo(d8, code), d8, codes + begin);
    }
    return begin;
}

void encode_by_codebook_kernel(const float* values, std::size_t count, const float* borders,
                               std::uint8_t* codes) {
    const std::size_t begin = encode_vectors(hn::ScalableTag<float>(), values, 0, count, borders, codes);
    encode_vectors(hn::CappedTag<float, 1>(), values, begin, count, borders, codes);
}

template <class D>
HWY_INLINE hn::Vec<D> look_up(D d, const std::uint8_t* codes, const float* codebook) {
    const hn::Rebind<std::uint8_t, D> d8;
    const hn::RebindToSigned<D> di;
    return hn::GatherIndex(d, codebook, hn::PromoteTo(di, hn::LoadU(d8, codes)));
}

template <class D>
HWY_INLINE std::size_t decode_vectors(D d, const std::uint8_t* codes, const float* codebook,
                                      std::size_t begin, std::size_t count, float* values) {
    const std::size_t lanes = hn::Lanes(d);
    for (; begin + lanes <= count; begin += lanes)
        hn::StoreU(look_up(d, codes + begin, codebook), d, values + begin);
    return begin;
}

void decode_by_codebook_kernel(const std::uint8_t* codes, const float* codebook, float* values,
                               std::size_t count) {
    const std::size_t begin = decode_vectors(hn::ScalableTag<float>(), codes, codebook, 0, count, values);
    decode_vectors(hn::CappedTag<float, 1>(), codes, codebook, begin, count, values);
}

template <class D>
HWY_INLINE std::size_t scaled_add_vectors(D d, const std::uint8_t* codes, const float* codebook, float factor,
                                          std::size_t begin, std::size_t count, float* sum) {
    const std::size_t lanes = hn::Lanes(d);
    const auto factors = hn::Set(d, factor);
    for (; begin + lanes <= count; begin += lanes) {
        const auto product = hn::Mul(factors, look_up(d, codes + begin, codebook));
        hn::StoreU(hn::Add(hn::LoadU(d, sum + begin), product), d, sum + begin);
    }
    return begin;
}

void scaled_add_by_codebook_kernel(const std::uint8_t* codes, const float* codebook, float factor, float* sum,
                                   std::size_t count) {
    const std::size_t begin =
        scaled_add_vectors(hn::ScalableTag<float>(), codes, codebook, factor, 0, count, sum);
    scaled_add_vectors(hn::CappedTag<float, 1>(), codes, codebook, factor, begin, count, sum);
}

}  // namespace HWY_NAMESPACE
}  // namespace shoal::compress
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace shoal::compress {

HWY_EXPORT(has_not_finite_kernel);
HWY_EXPORT(encode_by_codebook_kernel);
HWY_EXPORT(decode_by_codebook_kernel);
HWY_EXPORT(scaled_add_by_codebook_kernel);

bool has_not_finite(std::span<const float> values) {
    return HWY_DYNAMIC_DISPATCH(has_not_finite_kernel)(values.data(), values.size());
}

void encode_by_codebook(const float* values, std::size_t count, std::span<const float> codebook,
                        std::uint8_t* codes) {
    std::array<float, kQuantileCodes> borders;
    borders.fill(std::numeric_limits<float>::infinity());
    for (std::size_t k = 0; k + 1 < codebook.size(); ++k)
        borders[k] = codebook[k] * 0.5F + codebook[k + 1] * 0.5F;
    HWY_DYNAMIC_DISPATCH(encode_by_codebook_kernel)(values, count, borders.data(), codes);
}

void decode_by_codebook(const std::uint8_t* codes, const float* codebook, float* values, std::size_t count) {
    HWY_DYNAMIC_DISPATCH(decode_by_codebook_kernel)(codes, codebook, values, count);
}

void scaled_add_by_codebook(const std::uint8_t* codes, const float* codebook, float factor, float* sum,
                            std::size_t count) {
    HWY_DYNAMIC_DISPATCH(scaled_add_by_codebook_kernel)(codes, codebook, factor, sum, count);
}

}  // namespace shoal::compress
#endif
