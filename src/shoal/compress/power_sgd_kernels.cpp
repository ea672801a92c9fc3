#include "shoal/compress/power_sgd_kernels.h"

#include <algorithm>
#include <limits>

#include "shoal/compress/simd_config.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "shoal/compress/power_sgd_kernels.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "shoal/compress/largest_magnitude-inl.h"

HWY_BEFORE_NAMESPACE();
namespace shoal::compress {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

/// Values of row i that there are.
HWY_INLINE std::size_t length_of_row(const Matrix& m, std::size_t i) {
    return std::min(m.columns, m.count - std::min(m.count, i * m.columns));
}

/// Partial sums of a scalar product: the j-th element goes to sum j mod 16.
inline constexpr std::size_t kSums = 16;

HWY_INLINE float sum_of(const float* sums) {
    float halves[8], quarters[4];
    for (std::size_t i = 0; i < 8; ++i) halves[i] = sums[i] + sums[i + 8];
    for (std::size_t i = 0; i < 4; ++i) quarters[i] = halves[i] + halves[i + 4];
    return (quarters[0] + quarters[2]) + (quarters[1] + quarters[3]);
}

/// The scalar products of a row with kColumns columns of q, into p[c * rows].
template <std::size_t kColumns>
HWY_INLINE void multiply_row(const float* row, std::size_t length, float factor, const float* q,
                             std::size_t columns, float* p, std::size_t rows) {
    const hn::CappedTag<float, kSums> d;
    constexpr std::size_t kLanes = hn::MaxLanes(d), kVectors = kSums / kLanes;
    hn::Vec<decltype(d)> sums[kColumns * kVectors];
    for (auto& sum : sums) sum = hn::Zero(d);
    const auto factors = hn::Set(d, factor);
    std::size_t j = 0;
    for (; j + kSums <= length; j += kSums) {
        for (std::size_t v = 0; v < kVectors; ++v) {
            const std::size_t at = j + v * kLanes;
            const auto element = hn::Mul(hn::LoadU(d, row + at), factors);
            for (std::size_t c = 0; c < kColumns; ++c) {
                auto& sum = sums[c * kVectors + v];
                sum = hn::Add(sum, hn::Mul(element, hn::LoadU(d, q + c * columns + at)));
            }
        }
    }
    for (std::size_t c = 0; c < kColumns; ++c) {
        HWY_ALIGN float parts[kSums];
        for (std::size_t v = 0; v < kVectors; ++v) hn::Store(sums[c * kVectors + v], d, parts + v * kLanes);
        for (std::size_t at = j; at < length; ++at) parts[at - j] += row[at] * factor * q[c * columns + at];
        p[c * rows] = sum_of(parts);
    }
}

void multiply_kernel(const Matrix& m, const float* q, std::size_t rank, float* p) {
    for (std::size_t i = 0; i < m.rows; ++i) {
        const float* row = m.values + i * m.columns;
        const std::size_t length = length_of_row(m, i);
        std::size_t c = 0;
        for (; c + 4 <= rank; c += 4)
            multiply_row<4>(row, length, m.factor, q + c * m.columns, m.columns, p + c * m.rows + i, m.rows);
        for (; c < rank; ++c)
            multiply_row<1>(row, length, m.factor, q + c * m.columns, m.columns, p + c * m.rows + i, m.rows);
    }
}

/// q[j] += the sum over kRows rows of their j-th element times their number of p, for j in [begin, end).
template <std::size_t kRows, class D>
HWY_INLINE std::size_t add_rows(D d, const float* row, std::size_t columns, float factor, const float* p,
                                std::size_t begin, std::size_t end, float* q) {
    const std::size_t lanes = hn::Lanes(d);
    hn::Vec<D> weights[kRows];
    for (std::size_t r = 0; r < kRows; ++r) weights[r] = hn::Set(d, p[r]);
    const auto factors = hn::Set(d, factor);
    for (; begin + lanes <= end; begin += lanes) {
        auto sum = hn::LoadU(d, q + begin);
        for (std::size_t r = 0; r < kRows; ++r) {
            const auto element = hn::Mul(hn::LoadU(d, row + r * columns + begin), factors);
            sum = hn::Add(sum, hn::Mul(element, weights[r]));
        }
        hn::StoreU(sum, d, q + begin);
    }
    return begin;
}

template <std::size_t kRows>
HWY_INLINE void add_rows(const float* row, std::size_t columns, std::size_t length, float factor,
                         const float* p, float* q) {
    const std::size_t begin =
        add_rows<kRows>(hn::ScalableTag<float>(), row, columns, factor, p, 0, length, q);
    add_rows<kRows>(hn::CappedTag<float, 1>(), row, columns, factor, p, begin, length, q);
}

void multiply_transposed_kernel(const Matrix& m, const float* p, std::size_t rank, float* q) {
    std::fill(q, q + rank * m.columns, 0.0F);
    for (std::size_t i = 0; i < m.rows;) {
        const float* row = m.values + i * m.columns;
        const bool four = i + 4 <= m.rows && length_of_row(m, i + 3) == m.columns;
        for (std::size_t c = 0; c < rank; ++c) {
            const float* weights = p + c * m.rows + i;
            if (four)
                add_rows<4>(row, m.columns, m.columns, m.factor, weights, q + c * m.columns);
            else
                add_rows<1>(row, m.columns, length_of_row(m, i), m.factor, weights, q + c * m.columns);
        }
        i += four ? 4 : 1;
    }
}

std::int32_t largest_magnitude_kernel(const float* values, std::size_t count) {
    return largest_magnitude(values, count);
}

/// The values of row i of the product, from column j on.
template <class D>
HWY_INLINE hn::Vec<D> product_at(D d, const Product& product, std::size_t i, std::size_t j) {
    auto sum = hn::Zero(d);
    for (std::size_t c = 0; c < product.rank; ++c) {
        const auto weight = hn::Set(d, product.p[c * product.rows + i]);
        sum = hn::Add(sum, hn::Mul(weight, hn::LoadU(d, product.q + c * product.columns + j)));
    }
    const auto largest = hn::Set(d, std::numeric_limits<float>::max());
    const auto value = hn::Mul(sum, hn::Set(d, product.factor));
    return hn::Max(hn::Min(value, largest), hn::Neg(largest));
}

/// f(d, values, place in the vector) for all of the product.
template <class Function>
HWY_INLINE void for_each_value(const Product& product, std::size_t count, Function f) {
    const hn::ScalableTag<float> d;
    const hn::CappedTag<float, 1> one;
    const std::size_t lanes = hn::Lanes(d);
    for (std::size_t i = 0, begin = 0; begin < count; ++i, begin += product.columns) {
        const std::size_t length = std::min(product.columns, count - begin);
        std::size_t j = 0;
        for (; j + lanes <= length; j += lanes) f(d, product_at(d, product, i, j), begin + j);
        for (; j < length; ++j) f(one, product_at(one, product, i, j), begin + j);
    }
}

void decode_product_kernel(const Product& product, float* values, std::size_t count) {
    for_each_value(product, count, [values](auto d, auto value, std::size_t at) HWY_ATTR {
        hn::StoreU(value, d, values + at);
    });
}

void scaled_add_product_kernel(const Product& product, float scale, float* sum, std::size_t count) {
    for_each_value(product, count, [scale, sum](auto d, auto value, std::size_t at) HWY_ATTR {
        const auto scaled = hn::Mul(hn::Set(d, scale), value);
        hn::StoreU(hn::Add(hn::LoadU(d, sum + at), scaled), d, sum + at);
    });
}

}  // namespace HWY_NAMESPACE
}  // namespace shoal::compress
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace shoal::compress {

HWY_EXPORT(multiply_kernel);
HWY_EXPORT(multiply_transposed_kernel);
HWY_EXPORT(largest_magnitude_kernel);
HWY_EXPORT(decode_product_kernel);
HWY_EXPORT(scaled_add_product_kernel);

void multiply(const Matrix& m, const float* q, std::size_t rank, float* p) {
    HWY_DYNAMIC_DISPATCH(multiply_kernel)(m, q, rank, p);
}

void multiply_transposed(const Matrix& m, const float* p, std::size_t rank, float* q) {
    HWY_DYNAMIC_DISPATCH(multiply_transposed_kernel)(m, p, rank, q);
}

std::int32_t largest_magnitude_bits(const float* values, std::size_t count) {
    return HWY_DYNAMIC_DISPATCH(largest_magnitude_kernel)(values, count);
}

void decode_product(const Product& product, float* values, std::size_t count) {
    HWY_DYNAMIC_DISPATCH(decode_product_kernel)(product, values, count);
}

void scaled_add_product(const Product& product, float scale, float* sum, std::size_t count) {
    HWY_DYNAMIC_DISPATCH(scaled_add_product_kernel)(product, scale, sum, count);
}

}  // namespace shoal::compress
#endif
