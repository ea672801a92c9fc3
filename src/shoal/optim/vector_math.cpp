#include "shoal/optim/vector_math.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>

#include "shoal/base/error.h"
#include "shoal/compress/exact_floating_point.h"
#include "shoal/compress/simd_config.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "shoal/optim/vector_math.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace shoal::optim {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

bool all_finite_kernel(const float* values, std::size_t count) {
    const hn::ScalableTag<float> d;
    const hn::RebindToSigned<decltype(d)> di;
    const std::size_t lanes = hn::Lanes(d);
    const auto exponent = hn::Set(di, 0x7F800000);
    std::size_t i = 0;
    while (i + lanes <= count) {
        // The largest exponent of a stretch, then one look at it.
        auto largest = hn::Zero(di);
        const std::size_t end = std::min(count, i + kReductionBlock);
        for (; i + lanes <= end; i += lanes) {
            largest = hn::Max(largest, hn::And(hn::BitCast(di, hn::LoadU(d, values + i)), exponent));
        }
        if (hn::GetLane(hn::MaxOfLanes(di, largest)) == 0x7F800000) return false;
    }
    for (; i < count; ++i) {
        if (!std::isfinite(values[i])) return false;
    }
    return true;
}

/// At most kReductionBlock values. The accumulators are spread over as many vectors as hold 16 doubles.
double block_sum_of_squares_kernel(const float* values, std::size_t count) {
    constexpr std::size_t kAccumulators = 16;
    const hn::ScalableTag<double> d;
    const hn::Rebind<float, decltype(d)> df;
    constexpr std::size_t kLanes = hn::MaxLanes(decltype(d)());
    constexpr std::size_t kVectors = kAccumulators / kLanes;
    hn::Vec<decltype(d)> sums[kVectors];
    for (auto& sum : sums) sum = hn::Zero(d);
    std::size_t i = 0;
    for (; i + kAccumulators <= count; i += kAccumulators) {
        for (std::size_t k = 0; k < kVectors; ++k) {
            const auto value = hn::PromoteTo(d, hn::LoadU(df, values + i + k * kLanes));
            sums[k] = hn::Add(sums[k], hn::Mul(value, value));
        }
    }
    HWY_ALIGN double total[kAccumulators];
    for (std::size_t k = 0; k < kVectors; ++k) hn::Store(sums[k], d, total + k * kLanes);
    for (std::size_t j = 0; i + j < count; ++j) {
        const double value = values[i + j];
        total[j] += value * value;
    }
    for (std::size_t width = kAccumulators / 2; width > 0; width /= 2) {
        for (std::size_t j = 0; j < width; ++j) total[j] += total[j + width];
    }
    return total[0];
}

template <class D>
HWY_INLINE std::size_t add_vectors(D d, float* sum, const float* values, std::size_t begin,
                                   std::size_t count) {
    const std::size_t lanes = hn::Lanes(d);
    for (; begin + lanes <= count; begin += lanes) {
        hn::StoreU(hn::Add(hn::LoadU(d, sum + begin), hn::LoadU(d, values + begin)), d, sum + begin);
    }
    return begin;
}

void add_to_kernel(float* sum, const float* values, std::size_t count) {
    const std::size_t begin = add_vectors(hn::ScalableTag<float>(), sum, values, 0, count);
    add_vectors(hn::CappedTag<float, 1>(), sum, values, begin, count);
}

template <class D>
HWY_INLINE std::size_t scale_vectors(D d, float* values, float factor, std::size_t begin, std::size_t count) {
    const std::size_t lanes = hn::Lanes(d);
    const auto factors = hn::Set(d, factor);
    for (; begin + lanes <= count; begin += lanes) {
        hn::StoreU(hn::Mul(hn::LoadU(d, values + begin), factors), d, values + begin);
    }
    return begin;
}

void scale_kernel(float* values, float factor, std::size_t count) {
    const std::size_t begin = scale_vectors(hn::ScalableTag<float>(), values, factor, 0, count);
    scale_vectors(hn::CappedTag<float, 1>(), values, factor, begin, count);
}

}  // namespace HWY_NAMESPACE
}  // namespace shoal::optim
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace shoal::optim {

HWY_EXPORT(all_finite_kernel);
HWY_EXPORT(block_sum_of_squares_kernel);
HWY_EXPORT(add_to_kernel);
HWY_EXPORT(scale_kernel);

bool all_finite(std::span<const float> values) {
    return HWY_DYNAMIC_DISPATCH(all_finite_kernel)(values.data(), values.size());
}

double block_sum_of_squares(std::span<const float> block) {
    return HWY_DYNAMIC_DISPATCH(block_sum_of_squares_kernel)(block.data(), block.size());
}

double sum_of_squares(std::span<const float> values) {
    const compress::ExactFloatingPoint exact;
    double total = 0;
    for (std::size_t begin = 0; begin < values.size(); begin += kReductionBlock) {
        total +=
            block_sum_of_squares(values.subspan(begin, std::min(kReductionBlock, values.size() - begin)));
    }
    return total;
}

double clip_gradient_norm(std::span<float> gradient, double maximum) {
    if (!(maximum > 0)) {
        throw Error(ErrorKind::invalid_argument,
                    "the largest gradient norm must be positive, not " + std::to_string(maximum));
    }
    const double norm = std::sqrt(sum_of_squares(gradient));
    const double factor = maximum / (norm + 1e-6);
    if (std::isfinite(norm) && factor < 1) scale(gradient, static_cast<float>(factor));
    return norm;
}

void add_to(std::span<float> sum, std::span<const float> values) {
    if (sum.size() != values.size()) {
        throw Error(ErrorKind::invalid_argument, "add_to: a vector of " + std::to_string(values.size()) +
                                                     " values to one of " + std::to_string(sum.size()));
    }
    const compress::ExactFloatingPoint exact;
    HWY_DYNAMIC_DISPATCH(add_to_kernel)(sum.data(), values.data(), sum.size());
}

void scale(std::span<float> values, float factor) {
    const compress::ExactFloatingPoint exact;
    HWY_DYNAMIC_DISPATCH(scale_kernel)(values.data(), factor, values.size());
}

}  // namespace shoal::optim
#endif
