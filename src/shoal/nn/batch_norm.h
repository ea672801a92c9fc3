// Batch normalisation without running statistics. Internal to this room (libtorch types).
//
// Peers average parameters, and nothing else that a model holds. So training normalises a batch by its own
// mean and variance, and there is nothing beside the parameters that a peer would have to send. Where a fixed
// function of one image is wanted (features for a linear probe), the statistics are gathered anew from some
// images with the parameters that are held then ('precise' batch normalisation; Wu and Johnson 2021,
// 'Rethinking Batch in BatchNorm').
#pragma once

#include <ATen/core/Tensor.h>

namespace shoal::nn {

enum class Normalise {
    by_batch,            ///< by the mean and variance of the batch
    by_batch_gathering,  ///< the same, and adds them to what is gathered
    by_gathered,         ///< by what was gathered
};

class BatchNorm {
  public:
    BatchNorm() = default;
    /// Scale 1 and shift 0.
    explicit BatchNorm(std::int64_t channels);

    /// x: [n, channels] or [n, channels, height, width].
    at::Tensor operator()(const at::Tensor& x, Normalise how) const;
    void forget() const;

    at::Tensor weight, bias;

  private:
    void gather(const at::Tensor& x) const;

    /// Sums over the batches, of their means and variances. What a model knows of its data, not what it is:
    /// computing with the model may change them.
    mutable at::Tensor means_, variances_;
    mutable std::int64_t batches_ = 0;
};

}  // namespace shoal::nn
