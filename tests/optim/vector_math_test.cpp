#include "shoal/optim/vector_math.h"

#include "compress/float_inputs.h"
#include "compress/simd_paths.h"

#include <functional>
#include <gtest/gtest.h>

#include "shoal/base/error.h"

namespace shoal::optim {
namespace {

using namespace shoal::test;

const std::vector<std::size_t> kCounts = {0, 1, 15, 16, 17, 100, 4095, 4096, 4097, 3 * 4096 + 33};

TEST(AllFinite, finds_one_bad_value_anywhere_on_every_path) {
    Random random(1);
    on_every_simd_path([&](const std::string& path) {
        for (const std::size_t count : kCounts) {
            std::vector<float> values = finite_floats(count, random);
            EXPECT_TRUE(all_finite(values)) << path << " " << count;
            for (const std::size_t at : {std::size_t{0}, count / 2, count - 1}) {
                if (at >= count) continue;
                for (const std::uint32_t bad : {0x7F800000U, 0xFF800000U, 0x7FC00000U, 0xFF800001U}) {
                    const float good = values[at];
                    values[at] = from_bits(bad);
                    EXPECT_FALSE(all_finite(values)) << path << " " << count << " " << at;
                    values[at] = good;
                }
            }
        }
    });
}

TEST(AllFinite, takes_the_largest_float_for_finite) {
    const std::vector<float> values(40, -std::numeric_limits<float>::max());
    EXPECT_TRUE(all_finite(values));
}

/// The reduction as the header defines it.
double defined_sum_of_squares(const std::vector<float>& values) {
    double total = 0;
    for (std::size_t begin = 0; begin < values.size(); begin += kReductionBlock) {
        double sums[16] = {};
        const std::size_t end = std::min(values.size(), begin + kReductionBlock);
        for (std::size_t i = begin; i < end; ++i) {
            sums[(i - begin) % 16] += static_cast<double>(values[i]) * values[i];
        }
        for (const int width : {8, 4, 2, 1}) {
            for (int j = 0; j < width; ++j) sums[j] += sums[j + width];
        }
        total += sums[0];
    }
    return total;
}

TEST(SumOfSquares, is_reduced_in_the_defined_order_on_every_path) {
    Random random(2);
    for (const std::size_t count : kCounts) {
        const std::vector<float> values = gradient_like(count, random, 1e3);
        const double expected = defined_sum_of_squares(values);
        on_every_simd_path([&](const std::string& path) {
            EXPECT_EQ(sum_of_squares(values), expected) << path << " " << count;
        });
    }
}

TEST(SumOfSquares, does_not_overflow) {
    const std::vector<float> values(100, std::numeric_limits<float>::max());
    EXPECT_TRUE(std::isfinite(sum_of_squares(values)));
}

TEST(ClipGradientNorm, leaves_a_short_gradient_alone) {
    std::vector<float> gradient = {3, 4};
    EXPECT_DOUBLE_EQ(clip_gradient_norm(gradient, 5.1), 5);
    EXPECT_EQ(gradient, (std::vector<float>{3, 4}));
}

TEST(ClipGradientNorm, shortens_a_long_gradient_the_same_way_on_every_path) {
    Random random(3);
    const std::vector<float> original = gradient_like(10007, random);
    std::vector<float> expected = original;
    const double norm = std::sqrt(defined_sum_of_squares(original));
    const auto factor = static_cast<float>(1.0 / (norm + 1e-6));
    for (float& value : expected) value *= factor;
    on_every_simd_path([&](const std::string& path) {
        std::vector<float> gradient = original;
        EXPECT_EQ(clip_gradient_norm(gradient, 1), norm) << path;
        EXPECT_TRUE(same_bits(gradient, expected)) << path;
        EXPECT_NEAR(std::sqrt(sum_of_squares(gradient)), 1, 1e-6);
    });
}

TEST(ClipGradientNorm, tells_of_a_gradient_that_is_not_finite_and_leaves_it) {
    for (const float bad : {INFINITY, -INFINITY, NAN}) {
        std::vector<float> gradient(50, 1.0F);
        gradient[31] = bad;
        const std::vector<float> before = gradient;
        EXPECT_FALSE(std::isfinite(clip_gradient_norm(gradient, 1)));
        EXPECT_TRUE(same_bits(gradient, before));
    }
}

TEST(ClipGradientNorm, refuses_a_bound_that_is_not_positive) {
    std::vector<float> gradient = {1};
    EXPECT_THROW(clip_gradient_norm(gradient, 0), Error);
    EXPECT_THROW(clip_gradient_norm(gradient, NAN), Error);
}

TEST(AddTo, adds_on_every_path) {
    Random random(4);
    const std::vector<float> values = gradient_like(4133, random), start = gradient_like(4133, random);
    std::vector<float> expected = start;
    for (std::size_t i = 0; i < values.size(); ++i) expected[i] += values[i];
    on_every_simd_path([&](const std::string& path) {
        std::vector<float> sum = start;
        add_to(sum, values);
        EXPECT_TRUE(same_bits(sum, expected)) << path;
    });
}

TEST(AddTo, refuses_vectors_of_different_lengths) {
    std::vector<float> sum(3);
    EXPECT_THROW(add_to(sum, std::vector<float>(4)), Error);
}

}  // namespace
}  // namespace shoal::optim
