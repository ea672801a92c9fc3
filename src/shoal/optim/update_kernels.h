// SIMD kernels of the optimizers, for optimizer.cpp: one pass over parameters, gradient and moments. Every
// operation is rounded to float by itself, in the order that the formulas below are written, on every SIMD
// path.
#pragma once

#include <cstddef>

namespace shoal::optim {

struct SgdConstants {
    float learning_rate, momentum, weight_decay;
    bool nesterov;
};

/// g = gradient + weight_decay * p;  v = momentum * v + g;  p -= learning_rate * (nesterov ? g + momentum * v
/// : v)
void sgd_update(const SgdConstants& constants, const float* gradient, float* p, float* v, std::size_t count);

/// The same without momentum: g = gradient + weight_decay * p;  p -= learning_rate * g
void plain_sgd_update(const SgdConstants& constants, const float* gradient, float* p, std::size_t count);

struct LarcConstants {
    float learning_rate, momentum, weight_decay;
    float trust;  ///< what scales the decayed gradient of this tensor
};

/// g = trust * (gradient + weight_decay * p);  v = momentum * v + g;  p -= learning_rate * v
void larc_update(const LarcConstants& constants, const float* gradient, float* p, float* v,
                 std::size_t count);

/// Exponential moving averages of the gradient g and its square:
/// m = beta1 * m + rest1 * g;  v = beta2 * v + (rest2 * g) * g
struct MomentConstants {
    float beta1, rest1, beta2, rest2, epsilon;
};

struct AdamWConstants {
    MomentConstants moments;
    float shrink;           ///< 1 - learning_rate * weight_decay
    float step_size;        ///< learning_rate / (1 - beta1^t)
    float root_correction;  ///< 1 / sqrt(1 - beta2^t)
};

/// Moments as above;  p = shrink * p - step_size * (m / (sqrt(v) * root_correction + epsilon))
void adamw_update(const AdamWConstants& constants, const float* gradient, float* p, float* m, float* v,
                  std::size_t count);

/// Moments as above;  direction = m / (sqrt(v) + epsilon) + weight_decay * p
void lamb_direction(const MomentConstants& constants, float weight_decay, const float* gradient,
                    const float* p, float* m, float* v, float* direction, std::size_t count);

/// p -= factor * direction
void subtract_scaled(float factor, const float* direction, float* p, std::size_t count);

}  // namespace shoal::optim
