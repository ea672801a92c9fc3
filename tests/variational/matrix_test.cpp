#include "shoal/variational/matrix.h"

#include <gtest/gtest.h>

#include "shoal/base/error.h"

namespace shoal::variational {
namespace {

TEST(Matrix, a_solved_system_is_solved) {
    Random random(1);
    Matrix a(9, 9);
    for (double& element : a.elements()) element = random.normal();
    a(0, 0) = 0;  // needs another pivot
    Vector b(9), product_of(9);
    for (double& value : b) value = random.normal();
    multiply(a, solve(a, b), product_of);
    EXPECT_LT(squared_distance(product_of, b), 1e-22);
    EXPECT_THROW(solve(Matrix(3, 3), Vector(3)), Error);
}

TEST(Matrix, eigenvalues_are_those_it_was_made_of) {
    Random random(2);
    const std::vector<double> wanted = {-2, 0.1, 0.1, 0.5, 3};
    const std::vector<double> found = symmetric_eigenvalues(random_symmetric(wanted, random));
    for (std::size_t i = 0; i < wanted.size(); ++i) EXPECT_NEAR(found[i], wanted[i], 1e-12);
    EXPECT_NEAR(spectral_norm(random_symmetric(wanted, random)), 3, 1e-12);
    EXPECT_EQ(spectral_norm(Matrix(4, 4)), 0);
}

TEST(Matrix, random_orthogonal_ones_are_orthogonal) {
    Random random(3);
    const Matrix q = random_orthogonal(20, random);
    const Matrix should_be_identity = product(q, transposed(q));
    EXPECT_LT(squared_distance(should_be_identity.elements(), Matrix::identity(20).elements()), 1e-26);
}

TEST(Matrix, multiplying_by_the_transpose_needs_no_transpose) {
    Random random(4);
    Matrix a(5, 7);
    for (double& element : a.elements()) element = random.normal();
    Vector y(5), direct(7), by_transpose(7);
    for (double& value : y) value = random.normal();
    multiply_transposed(a, y, direct);
    multiply(transposed(a), y, by_transpose);
    EXPECT_LT(squared_distance(direct, by_transpose), 1e-26);
}

}  // namespace
}  // namespace shoal::variational
