// Small dense matrices: enough to make problems whose solution and constants are known.
#pragma once

#include <vector>

#include "shoal/base/random.h"
#include "shoal/variational/vectors.h"

namespace shoal::variational {

/// Row by row.
class Matrix {
  public:
    Matrix() = default;
    /// Zeros.
    Matrix(std::size_t rows, std::size_t columns)
        : rows_(rows), columns_(columns), elements_(rows * columns, 0.0) {}
    static Matrix identity(std::size_t size);

    std::size_t rows() const { return rows_; }
    std::size_t columns() const { return columns_; }
    double& operator()(std::size_t row, std::size_t column) { return elements_[row * columns_ + column]; }
    double operator()(std::size_t row, std::size_t column) const {
        return elements_[row * columns_ + column];
    }
    std::span<double> row(std::size_t row) {
        return std::span<double>(elements_).subspan(row * columns_, columns_);
    }
    std::span<const double> row(std::size_t row) const {
        return std::span<const double>(elements_).subspan(row * columns_, columns_);
    }
    std::span<double> elements() { return elements_; }
    std::span<const double> elements() const { return elements_; }

  private:
    std::size_t rows_ = 0, columns_ = 0;
    std::vector<double> elements_;
};

/// result = A x
void multiply(const Matrix& a, std::span<const double> x, std::span<double> result);
/// result = A^T y
void multiply_transposed(const Matrix& a, std::span<const double> y, std::span<double> result);
Matrix product(const Matrix& a, const Matrix& b);
Matrix transposed(const Matrix& a);

/// x of A x = b, A square. Throws Error(invalid_argument) if A is singular.
Vector solve(Matrix a, Vector b);

/// All of a symmetric matrix, ascending, to rounding (Jacobi's rotations). Its upper half is looked at.
std::vector<double> symmetric_eigenvalues(Matrix a);
/// The largest singular value.
double spectral_norm(const Matrix& a);

/// Uniform among the orthogonal ones.
Matrix random_orthogonal(std::size_t size, Random& random);
/// Q diag(eigenvalues) Q^T of such a Q.
Matrix random_symmetric(std::span<const double> eigenvalues, Random& random);

}  // namespace shoal::variational
