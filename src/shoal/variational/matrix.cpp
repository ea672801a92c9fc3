#include "shoal/variational/matrix.h"

#include <algorithm>
#include <cmath>

#include "shoal/base/error.h"

namespace shoal::variational {
namespace {

/// Rotates rows and columns p and q, so that element (p, q) becomes 0.
void rotate(Matrix& a, std::size_t p, std::size_t q) {
    if (a(p, q) == 0) return;
    const double theta = (a(q, q) - a(p, p)) / (2 * a(p, q));
    const double tangent = (theta >= 0 ? 1 : -1) / (std::abs(theta) + std::sqrt(theta * theta + 1));
    const double cosine = 1 / std::sqrt(tangent * tangent + 1), sine = tangent * cosine;
    for (std::size_t i = 0; i < a.rows(); ++i) {
        const double of_p = a(p, i), of_q = a(q, i);
        a(p, i) = cosine * of_p - sine * of_q;
        a(q, i) = sine * of_p + cosine * of_q;
    }
    for (std::size_t i = 0; i < a.rows(); ++i) {
        const double of_p = a(i, p), of_q = a(i, q);
        a(i, p) = cosine * of_p - sine * of_q;
        a(i, q) = sine * of_p + cosine * of_q;
    }
}

}  // namespace

Matrix Matrix::identity(std::size_t size) {
    Matrix result(size, size);
    for (std::size_t i = 0; i < size; ++i) result(i, i) = 1;
    return result;
}

void multiply(const Matrix& a, std::span<const double> x, std::span<double> result) {
    for (std::size_t i = 0; i < a.rows(); ++i) result[i] = dot(a.row(i), x);
}

void multiply_transposed(const Matrix& a, std::span<const double> y, std::span<double> result) {
    std::fill(result.begin(), result.end(), 0.0);
    for (std::size_t i = 0; i < a.rows(); ++i) add_scaled(y[i], a.row(i), result);
}

Matrix product(const Matrix& a, const Matrix& b) {
    Matrix result(a.rows(), b.columns());
    for (std::size_t i = 0; i < a.rows(); ++i)
        for (std::size_t k = 0; k < a.columns(); ++k) add_scaled(a(i, k), b.row(k), result.row(i));
    return result;
}

Matrix transposed(const Matrix& a) {
    Matrix result(a.columns(), a.rows());
    for (std::size_t i = 0; i < a.rows(); ++i)
        for (std::size_t j = 0; j < a.columns(); ++j) result(j, i) = a(i, j);
    return result;
}

Vector solve(Matrix a, Vector b) {
    const std::size_t size = a.rows();
    for (std::size_t k = 0; k < size; ++k) {
        std::size_t pivot = k;
        for (std::size_t i = k + 1; i < size; ++i)
            if (std::abs(a(i, k)) > std::abs(a(pivot, k))) pivot = i;
        if (a(pivot, k) == 0) throw Error(ErrorKind::invalid_argument, "the matrix is singular");
        std::swap(b[k], b[pivot]);
        std::swap_ranges(a.row(k).begin(), a.row(k).end(), a.row(pivot).begin());
        for (std::size_t i = k + 1; i < size; ++i) {
            const double factor = a(i, k) / a(k, k);
            add_scaled(-factor, a.row(k), a.row(i));
            b[i] -= factor * b[k];
        }
    }
    for (std::size_t k = size; k-- > 0;) {
        for (std::size_t j = k + 1; j < size; ++j) b[k] -= a(k, j) * b[j];
        b[k] /= a(k, k);
    }
    return b;
}

std::vector<double> symmetric_eigenvalues(Matrix a) {
    constexpr int kSweeps = 30;  // it takes less than ten
    const std::size_t size = a.rows();
    for (std::size_t i = 0; i < size; ++i)
        for (std::size_t j = 0; j < i; ++j) a(i, j) = a(j, i);
    double whole = 0;
    for (const double element : a.elements()) whole += element * element;
    for (int sweep = 0; sweep < kSweeps; ++sweep) {
        double outside = 0;
        for (std::size_t p = 0; p < size; ++p)
            for (std::size_t q = p + 1; q < size; ++q) outside += a(p, q) * a(p, q);
        if (outside <= 1e-30 * whole) break;
        for (std::size_t p = 0; p < size; ++p)
            for (std::size_t q = p + 1; q < size; ++q) rotate(a, p, q);
    }
    std::vector<double> values(size);
    for (std::size_t i = 0; i < size; ++i) values[i] = a(i, i);
    std::sort(values.begin(), values.end());
    return values;
}

double spectral_norm(const Matrix& a) {
    if (a.rows() == 0 || a.columns() == 0) return 0;
    return std::sqrt(std::max(0.0, symmetric_eigenvalues(product(transposed(a), a)).back()));
}

Matrix random_orthogonal(std::size_t size, Random& random) {
    Matrix q(size, size);
    for (double& element : q.elements()) element = random.normal();
    for (std::size_t i = 0; i < size; ++i) {
        // Gram-Schmidt, twice: once leaves what rounding has put in.
        for (int pass = 0; pass < 2; ++pass)
            for (std::size_t j = 0; j < i; ++j) add_scaled(-dot(q.row(i), q.row(j)), q.row(j), q.row(i));
        const double length = norm(q.row(i));
        for (double& element : q.row(i)) element /= length;
    }
    return q;
}

Matrix random_symmetric(std::span<const double> eigenvalues, Random& random) {
    const Matrix q = random_orthogonal(eigenvalues.size(), random);
    Matrix scaled = q;
    for (std::size_t i = 0; i < eigenvalues.size(); ++i)
        for (double& element : scaled.row(i)) element *= eigenvalues[i];
    return product(transposed(q), scaled);
}

}  // namespace shoal::variational
