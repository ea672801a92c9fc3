#include "shoal/train/model_source.h"

#include <algorithm>
#include <limits>

#include "shoal/base/error.h"

namespace shoal::train {

namespace {

optim::ParameterLayout layout_of(const nn::Model& model) {
    std::vector<optim::ParameterTensor> tensors;
    for (const auto& parameter : model.parameters())
        tensors.push_back(
            optim::ParameterTensor{parameter.name, parameter.shape, parameter.decay, parameter.frozen_steps});
    return optim::ParameterLayout(std::move(tensors));
}

}  // namespace

ModelSource::ModelSource(std::unique_ptr<nn::Model> model, std::unique_ptr<data::Dataset> dataset,
                         std::int64_t micro_batch_size, std::int64_t held_out_samples)
    : model_(std::move(model)),
      dataset_(std::move(dataset)),
      micro_batch_size_(micro_batch_size),
      held_out_samples_(held_out_samples),
      layout_(layout_of(*model_)) {
    if (micro_batch_size < 1 || held_out_samples < 1)
        throw Error(ErrorKind::invalid_argument,
                    "a micro-batch and the held-out data need at least one sample");
}

optim::MicroBatchLoss ModelSource::micro_batch() {
    last_place_ = {dataset_->position(), micro_batch_size_};
    model_->zero_gradients();
    const data::Batch batch = dataset_->next(micro_batch_size_);
    const double loss = model_->forward_backward(batch);
    return {static_cast<Samples>(batch.samples), loss};
}

double ModelSource::held_out_loss() {
    const auto total = static_cast<std::int64_t>(
        std::min<std::uint64_t>(dataset_->held_out_size(), static_cast<std::uint64_t>(held_out_samples_)));
    if (total == 0) return std::numeric_limits<double>::quiet_NaN();
    double sum = 0;
    for (std::int64_t first = 0; first < total; first += micro_batch_size_) {
        const std::int64_t samples = std::min(micro_batch_size_, total - first);
        sum += model_->evaluate(dataset_->held_out(static_cast<std::uint64_t>(first), samples)) *
               static_cast<double>(samples);
    }
    return sum / static_cast<double>(total);
}

}  // namespace shoal::train
