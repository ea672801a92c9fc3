// Sums, norms and checks over long vectors, the same bits on every machine and SIMD path.
//
// How sums are reduced: the vector is cut into blocks of kReductionBlock values; within a block, value i goes
// to accumulator i mod 16, in double; the 16 are added pairwise (j and j+8, j+4, j+2, j+1), and blocks are
// added in order. The vector width of the machine has no part in it. (The square of a float is exact in
// double.)
#pragma once

#include <cstddef>
#include <span>

namespace shoal::optim {

inline constexpr std::size_t kReductionBlock = 4096;

/// Whether no value is NaN or infinite.
bool all_finite(std::span<const float> values);

/// The sum of the squares. Not finite exactly if a value is not: no sum of squares of finite floats
/// overflows.
double sum_of_squares(std::span<const float> values);

/// One block of it: at most kReductionBlock values. For callers that go block by block, add in order and have
/// made an ExactFloatingPoint of their own.
double block_sum_of_squares(std::span<const float> block);

/// Scales the gradient to have at most this Euclidean norm: times maximum / (norm + 1e-6) if that is below 1,
/// as torch.nn.utils.clip_grad_norm_ does. Returns the norm before. If that is not finite, nothing is changed
/// and the caller must not step with this gradient. Throws Error(invalid_argument) unless maximum > 0.
double clip_gradient_norm(std::span<float> gradient, double maximum);

/// sum[i] += values[i]. Throws Error(invalid_argument) on different lengths.
void add_to(std::span<float> sum, std::span<const float> values);

/// values[i] *= factor.
void scale(std::span<float> values, float factor);

}  // namespace shoal::optim
