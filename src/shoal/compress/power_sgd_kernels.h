// SIMD kernels of power_sgd: products with the matrix M of a vector, whose elements are multiplied by
// `factor` as they are read. Row i of M begins at values + i * columns; what is missing behind the last value
// is zero. The order of all sums is fixed. P and Q are stored column after column.
#pragma once

#include <cstddef>
#include <cstdint>

namespace shoal::compress {

struct Matrix {
    const float* values;
    std::size_t count, rows, columns;
    float factor;
};

/// p = M q, for each of the rank columns: p has M.rows numbers, q M.columns.
void multiply(const Matrix& m, const float* q, std::size_t rank, float* p);
/// q = M^T p.
void multiply_transposed(const Matrix& m, const float* p, std::size_t rank, float* q);

/// The largest magnitude as bits, which order floats; infinity and NaN are above all others.
std::int32_t largest_magnitude_bits(const float* values, std::size_t count);

/// A product P Q^T to be read value by value: of `rows` and `columns`.
struct Product {
    const float* p;
    const float* q;
    std::size_t rank, rows, columns;
    float factor;  ///< of every value; a finite one that becomes too large is cut
};

/// values[i] = the i-th of the product, row by row, for i < count.
void decode_product(const Product& product, float* values, std::size_t count);
/// sum[i] += scale * the same.
void scaled_add_product(const Product& product, float scale, float* sum, std::size_t count);

}  // namespace shoal::compress
