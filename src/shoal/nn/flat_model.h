// What all models share: leaf tensors that are views of one flat array, and gradients likewise. Internal to
// this room (libtorch types).
#pragma once

#include <ATen/core/Tensor.h>

#include "shoal/nn/model.h"

namespace shoal::nn {

struct NamedTensor {
    std::string name;
    at::Tensor tensor;              ///< fp32 leaf on the CPU
    std::int64_t frozen_steps = 0;  ///< as Parameter's
};

class FlatModel : public Model {
  public:
    const std::vector<Parameter>& parameters() const final { return parameters_; }
    std::span<float> values() final;
    std::span<const float> gradient_sum() const final;
    std::int64_t accumulated_samples() const final { return accumulated_; }
    void zero_gradients() final;
    double forward_backward(const data::Batch& batch) final;
    double evaluate(const data::Batch& batch) final;
    std::string describe() const final;

  protected:
    FlatModel(std::string title, int threads);

    /// Moves the tensors' contents into the flat array and makes the very same tensors views of it. Tensors
    /// that shared their storage (tied weights) become one parameter under the first name. Call once, in the
    /// constructor.
    void adopt(const std::vector<NamedTensor>& tensors);

    /// The mean loss of a batch: a float tensor with one element, differentiable when gradients are enabled.
    virtual at::Tensor loss(const data::Batch& batch, bool training) = 0;
    /// Throws Error(invalid_argument) unless the batch is what the model takes.
    virtual void check(const data::Batch& batch) const = 0;

    /// Tells libtorch how many threads this model computes with; before any computation that is no loss.
    void use_threads() const;

  private:
    at::Tensor guarded_loss(const data::Batch& batch, bool training);
    void check_gradient_views() const;

    std::string title_;
    int threads_;
    std::vector<Parameter> parameters_;
    at::Tensor values_, gradients_;  ///< flat, of equal size
    std::vector<at::Tensor>
        leaves_;  ///< every adopted tensor; its data is a view of values_, its grad of gradients_
    std::vector<std::size_t> offsets_;  ///< of each leaf
    std::int64_t accumulated_ = 0;
};

/// The batch's array as an int64 or float tensor without a copy; the batch must outlive it. @param name for
/// the message of the Error(invalid_argument) that is thrown if the array has not the size of the shape.
at::Tensor as_tensor(const std::vector<std::int64_t>& values, at::IntArrayRef shape, const char* name);
at::Tensor as_tensor(const std::vector<float>& values, at::IntArrayRef shape, const char* name);

}  // namespace shoal::nn
