// Sums whose order does not depend on the width of vectors: eight partial sums in double precision, the j-th
// of the values whose place has the remainder j by eight. Included once for each instruction set, by files
// that Highway includes likewise.
#if defined(SHOAL_FIXED_ORDER_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef SHOAL_FIXED_ORDER_INL_H
#undef SHOAL_FIXED_ORDER_INL_H
#else
#define SHOAL_FIXED_ORDER_INL_H
#endif

#include <cstddef>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace shoal::compress {
namespace HWY_NAMESPACE {

inline constexpr std::size_t kPartialSums = 8;

/// The sum of term(vector of doubles) over all values; `term` takes any vector of doubles, too.
template <class Term>
HWY_INLINE double sum_in_fixed_order(const float* values, std::size_t count, Term term) {
    namespace hn = hwy::HWY_NAMESPACE;
    const hn::CappedTag<double, kPartialSums> d;
    const hn::Rebind<float, decltype(d)> d32;
    constexpr std::size_t kLanes = hn::MaxLanes(d), kVectors = kPartialSums / kLanes;
    hn::Vec<decltype(d)> sums[kVectors];
    for (auto& sum : sums) sum = hn::Zero(d);
    std::size_t i = 0;
    for (; i + kPartialSums <= count; i += kPartialSums) {
        for (std::size_t v = 0; v < kVectors; ++v) {
            const auto value = hn::PromoteTo(d, hn::LoadU(d32, values + i + v * kLanes));
            sums[v] = hn::Add(sums[v], term(d, value));
        }
    }
    HWY_ALIGN double parts[kPartialSums];
    for (std::size_t v = 0; v < kVectors; ++v) hn::Store(sums[v], d, parts + v * kLanes);
    const hn::CappedTag<double, 1> one;
    for (std::size_t j = 0; i < count; ++i, ++j)
        parts[j] += hn::GetLane(term(one, hn::Set(one, static_cast<double>(values[i]))));
    return ((parts[0] + parts[1]) + (parts[2] + parts[3])) + ((parts[4] + parts[5]) + (parts[6] + parts[7]));
}

HWY_INLINE double sum_of_squares(const float* values, std::size_t count) {
    return sum_in_fixed_order(
        values, count, [](auto, auto value) HWY_ATTR { return hwy::HWY_NAMESPACE::Mul(value, value); });
}

HWY_INLINE double sum_of_magnitudes(const float* values, std::size_t count) {
    return sum_in_fixed_order(values, count,
                              [](auto, auto value) HWY_ATTR { return hwy::HWY_NAMESPACE::Abs(value); });
}

}  // namespace HWY_NAMESPACE
}  // namespace shoal::compress
HWY_AFTER_NAMESPACE();

#endif
