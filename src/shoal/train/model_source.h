// A model and its data as the optimizer sees them: where gradients come from.
#pragma once

#include <memory>
#include <vector>

#include "shoal/data/dataset.h"
#include "shoal/nn/model.h"
#include "shoal/optim/gradient_source.h"

namespace shoal::train {

/// Which samples of a peer's stream a micro-batch used, so that a run can be replayed elsewhere
/// (Dataset::seek).
struct MicroBatchPlace {
    std::uint64_t first = 0;
    std::int64_t samples = 0;
};

class ModelSource final : public optim::GradientSource {
  public:
    /// @param micro_batch_size  samples at once, > 0.  @param held_out_samples  used by held_out_loss(), at
    /// most; > 0.
    ModelSource(std::unique_ptr<nn::Model> model, std::unique_ptr<data::Dataset> dataset,
                std::int64_t micro_batch_size, std::int64_t held_out_samples = 64);

    const optim::ParameterLayout& layout() const override { return layout_; }
    std::span<float> parameters() override { return model_->values(); }
    std::span<const float> gradient() override { return model_->gradient_sum(); }
    void set_step(Step step) override { model_->set_step(value(step)); }
    optim::MicroBatchLoss micro_batch() override;
    double held_out_loss() override;
    std::uint64_t position() const override { return dataset_->position(); }
    void seek(std::uint64_t position) override { dataset_->seek(position); }

    const nn::Model& model() const { return *model_; }
    nn::Model& model() { return *model_; }
    const data::Dataset& dataset() const { return *dataset_; }
    /// The last micro_batch(), also from any other thread that knows it has ended.
    MicroBatchPlace last_place() const { return last_place_; }

  private:
    std::unique_ptr<nn::Model> model_;
    std::unique_ptr<data::Dataset> dataset_;
    std::int64_t micro_batch_size_, held_out_samples_;
    optim::ParameterLayout layout_;
    MicroBatchPlace last_place_;
};

}  // namespace shoal::train
