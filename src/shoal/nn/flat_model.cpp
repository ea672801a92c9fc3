#include "shoal/nn/flat_model.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/zeros.h>
#include <algorithm>
#include <map>
#include <tuple>

#include "shoal/base/error.h"

namespace shoal::nn {
namespace {

bool is_view_of(const at::Tensor& tensor, const at::Tensor& flat, std::size_t offset) {
    return tensor.defined() && tensor.is_contiguous() &&
           tensor.data_ptr<float>() == flat.data_ptr<float>() + offset;
}

template <typename Number>
at::Tensor view_of(const std::vector<Number>& values, at::IntArrayRef shape, const char* name,
                   at::ScalarType type) {
    std::int64_t elements = 1;
    for (const std::int64_t size : shape) elements *= size;
    if (elements != static_cast<std::int64_t>(values.size())) {
        throw Error(ErrorKind::invalid_argument, std::string("the batch's ") + name + " has " +
                                                     std::to_string(values.size()) + " elements instead of " +
                                                     std::to_string(elements));
    }
    return at::from_blob(const_cast<Number*>(values.data()), shape, at::TensorOptions().dtype(type));
}

}  // namespace

FlatModel::FlatModel(std::string title, int threads) : title_(std::move(title)), threads_(threads) {}

std::span<float> FlatModel::values() {
    return {values_.data_ptr<float>(), static_cast<std::size_t>(values_.numel())};
}

std::span<const float> FlatModel::gradient_sum() const {
    return {gradients_.data_ptr<float>(), static_cast<std::size_t>(gradients_.numel())};
}

void FlatModel::zero_gradients() {
    const c10::AutoGradMode no_gradients(false);
    gradients_.zero_();
    accumulated_ = 0;
}

std::string FlatModel::describe() const {
    return title_ + ", " + std::to_string(values_.numel()) + " parameters in " +
           std::to_string(parameters_.size()) + " tensors";
}

void FlatModel::adopt(const std::vector<NamedTensor>& tensors) {
    const c10::AutoGradMode no_gradients(false);
    // Two tensors are tied if they show the same memory in the same way.
    using Identity = std::tuple<const void*, std::vector<std::int64_t>, std::vector<std::int64_t>>;
    std::map<Identity, std::size_t> seen;
    std::size_t total = 0;
    for (const auto& [name, tensor, frozen_steps] : tensors) {
        const auto elements = static_cast<std::size_t>(tensor.numel());
        const auto [place, is_new] = seen.emplace(
            Identity{elements > 0 ? tensor.data_ptr() : &name, tensor.sizes().vec(), tensor.strides().vec()},
            total);
        leaves_.push_back(tensor);
        offsets_.push_back(place->second);
        if (!is_new) continue;
        parameters_.push_back({name, tensor.sizes().vec(), total, elements, tensor.dim() >= 2, frozen_steps});
        total += elements;
    }
    values_ = at::zeros({static_cast<std::int64_t>(total)}, at::kFloat);
    gradients_ = at::zeros({static_cast<std::int64_t>(total)}, at::kFloat);
    for (std::size_t i = 0; i < leaves_.size(); ++i) {
        at::Tensor& leaf = leaves_[i];
        const auto offset = static_cast<std::int64_t>(offsets_[i]);
        const at::Tensor view = values_.narrow(0, offset, leaf.numel()).view(leaf.sizes());
        view.copy_(leaf);
        leaf.set_data(view);
        leaf.set_requires_grad(true);
        leaf.mutable_grad() = gradients_.narrow(0, offset, leaf.numel()).view(leaf.sizes());
    }
}

void FlatModel::use_threads() const {
    // OpenMP keeps the number for each calling thread.
    if (at::get_num_threads() != threads_) at::set_num_threads(threads_);
}

at::Tensor FlatModel::guarded_loss(const data::Batch& batch, bool training) {
    check(batch);
    use_threads();
    try {
        return loss(batch, training);
    } catch (const c10::Error& error) {
        throw Error(ErrorKind::bad_input,
                    title_ + " cannot compute this batch: " + error.what_without_backtrace());
    }
}

double FlatModel::forward_backward(const data::Batch& batch) {
    const c10::AutoGradMode with_gradients(true);
    const at::Tensor mean = guarded_loss(batch, true);
    try {
        (mean * static_cast<double>(batch.samples)).backward();
        check_gradient_views();
    } catch (const c10::Error& error) {
        zero_gradients();
        throw Error(ErrorKind::bad_input,
                    title_ + " has a loss without gradients: " + error.what_without_backtrace());
    }
    accumulated_ += batch.samples;
    return mean.item().toDouble();
}

double FlatModel::evaluate(const data::Batch& batch) {
    const c10::AutoGradMode no_gradients(false);
    return guarded_loss(batch, false).item().toDouble();
}

/// Autograd adds into the gradients in place; if that ever changed (a sparse gradient, another libtorch), it
/// must not go unnoticed.
void FlatModel::check_gradient_views() const {
    for (std::size_t i = 0; i < leaves_.size(); ++i) {
        if (leaves_[i].numel() > 0 && !is_view_of(leaves_[i].grad(), gradients_, offsets_[i])) {
            throw Error(ErrorKind::bad_input,
                        title_ +
                            " replaced the gradient of a parameter (sparse embedding gradients?); this "
                            "is not supported, use dense gradients");
        }
    }
}

at::Tensor as_tensor(const std::vector<std::int64_t>& values, at::IntArrayRef shape, const char* name) {
    return view_of(values, shape, name, at::kLong);
}
at::Tensor as_tensor(const std::vector<float>& values, at::IntArrayRef shape, const char* name) {
    return view_of(values, shape, name, at::kFloat);
}

}  // namespace shoal::nn
