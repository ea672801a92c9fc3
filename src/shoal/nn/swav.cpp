#include "shoal/nn/swav.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/relu.h>
#include <array>
#include <cmath>
#include <map>

#include "shoal/base/error.h"
#include "shoal/data/multi_crop.h"
#include "shoal/nn/initialise.h"
#include "shoal/nn/resnet_trunk.h"
#include "shoal/nn/sinkhorn.h"

namespace shoal::nn {
namespace {

using data::kLargeCrops;

SwavSettings filled_in(const ModelSettings& settings) {
    struct Sizes {
        std::int64_t hidden, projection, prototypes;
    };
    static const std::map<std::string, Sizes> named = {{"tiny", {128, 32, 100}},
                                                       {"small", {256, 64, 300}},
                                                       {"base", {2048, 128, 3000}},
                                                       {"large", {2048, 128, 3000}}};
    SwavSettings swav = settings.swav;
    const Sizes& sizes = named.at(settings.size);  // resnet_sizes() has refused others
    const auto fill = [](std::int64_t& field, std::int64_t by_size, const char* name) {
        if (field == 0) field = by_size;
        if (field < 1 || field > 1 << 20)
            throw Error(ErrorKind::invalid_argument, std::string(name) + " must be 1 to 1048576");
    };
    fill(swav.projection_hidden, sizes.hidden, "projection_hidden");
    fill(swav.projection, sizes.projection, "projection");
    fill(swav.prototypes, sizes.prototypes, "prototypes");
    const auto require = [](bool condition, const char* problem) {
        if (!condition) throw Error(ErrorKind::invalid_argument, problem);
    };
    // Written so that NaN is refused, too.
    require(swav.temperature >= 0.001 && swav.temperature <= 10, "temperature must be 0.001 to 10");
    require(swav.epsilon >= 0.001 && swav.epsilon <= 10, "epsilon must be 0.001 to 10");
    require(swav.sinkhorn_iterations >= 1 && swav.sinkhorn_iterations <= 1000,
            "sinkhorn_iterations must be 1 to 1000");
    require(swav.queue >= 0 && swav.queue <= 1 << 20, "queue must be 0 to 1048576");
    require(swav.queue_from_step >= 0 && swav.frozen_steps >= 0,
            "queue_from_step and frozen_steps must not be negative");
    return swav;
}

/// Rows of length 1.
at::Tensor normalised(const at::Tensor& rows) {
    return rows / rows.norm(2, {1}, true).clamp_min(1e-12);
}

at::Tensor linear_tensor(std::int64_t out, std::int64_t in, Random& random) {
    return normal_tensor({out, in}, std::sqrt(1.0 / static_cast<double>(3 * in)), random);
}

/// The last projections of one large view of a peer's own samples, newest first.
class Queue {
  public:
    explicit Queue(std::int64_t length) : length_(length) {}

    bool is_full() const { return held_.defined() && held_.size(0) == length_; }
    const at::Tensor& held() const { return held_; }
    /// What is not finite is left out: it would stay for many batches.
    void add(const at::Tensor& projections) {
        if (length_ == 0 || !projections.isfinite().all().item().toBool()) return;
        held_ = held_.defined() ? at::cat({projections, held_}) : projections;
        held_ = held_.narrow(0, 0, std::min(length_, held_.size(0))).clone();
    }

  private:
    std::int64_t length_;
    at::Tensor held_;
};

class Swav final : public TrunkModel {
  public:
    Swav(const ModelSettings& settings, Random random)
        : TrunkModel("swav " + settings.size, settings, random),
          swav_(filled_in(settings)),
          queues_{Queue(swav_.queue), Queue(swav_.queue)} {
        const std::int64_t hidden = swav_.projection_hidden;
        hidden_weight_ = linear_tensor(hidden, trunk().features(), random);
        hidden_bias_ = constant_tensor({hidden}, 0);
        hidden_norm_ = BatchNorm(hidden);
        projection_weight_ = linear_tensor(swav_.projection, hidden, random);
        projection_bias_ = constant_tensor({swav_.projection}, 0);
        prototypes_ = normalised(linear_tensor(swav_.prototypes, swav_.projection, random));
        std::vector<NamedTensor> all = trunk().tensors();
        all.push_back({"projection_head.0.weight", hidden_weight_});
        all.push_back({"projection_head.0.bias", hidden_bias_});
        all.push_back({"projection_head.1.weight", hidden_norm_.weight});
        all.push_back({"projection_head.1.bias", hidden_norm_.bias});
        all.push_back({"projection_head.3.weight", projection_weight_});
        all.push_back({"projection_head.3.bias", projection_bias_});
        all.push_back({"prototypes.weight", prototypes_, swav_.frozen_steps});
        adopt(all);
    }

    void set_step(std::int64_t step) override { step_ = step; }

  private:
    void check(const data::Batch& batch) const override {
        if (batch.kind == data::BatchKind::views && batch.channels == channels() && batch.large_size > 0 &&
            batch.small_crops >= 0)
            return;
        throw Error(ErrorKind::invalid_argument,
                    "swav was made for views of images of " + std::to_string(channels()) +
                        " channels, but the data set gives " + std::string(data::to_string(batch.kind)) +
                        " of another form; check model and data of the run");
    }

    at::Tensor loss(const data::Batch& batch, bool training) override {
        const at::Tensor projections = project(batch);
        const at::Tensor prototypes = normalised(prototypes_);
        const at::Tensor scores = projections.matmul(prototypes.t());
        const std::int64_t n = batch.samples;
        const std::int64_t views = scores.size(0) / n;
        const at::Tensor predicted = at::log_softmax(scores / swav_.temperature, 1).view({views, n, -1});
        at::Tensor sum;
        for (std::int64_t crop = 0; crop < kLargeCrops; ++crop) {
            const at::Tensor assigned = assign(crop, scores.narrow(0, crop * n, n).detach(), prototypes,
                                               projections.narrow(0, crop * n, n).detach(), training);
            const at::Tensor by_view = -(assigned * predicted).sum({2}).mean({1});  // [views]
            const at::Tensor others = (by_view.sum() - by_view[crop]) / static_cast<double>(views - 1);
            sum = sum.defined() ? sum + others : others;
        }
        return sum / static_cast<double>(kLargeCrops);
    }

    /// [views * n, projection], view by view: the large ones first.
    at::Tensor project(const data::Batch& batch) const {
        const auto by_view = [&](const std::vector<float>& values, std::int64_t crops, std::int64_t size,
                                 const char* name) {
            return as_tensor(values, {batch.samples, crops, channels(), size, size}, name)
                .transpose(0, 1)
                .reshape({crops * batch.samples, channels(), size, size});
        };
        at::Tensor features = trunk()(
            by_view(batch.large_views, kLargeCrops, batch.large_size, "large views"), Normalise::by_batch);
        if (batch.small_crops > 0) {
            const at::Tensor small =
                by_view(batch.small_views, batch.small_crops, batch.small_size, "small views");
            features = at::cat({features, trunk()(small, Normalise::by_batch)});
        }
        const at::Tensor hidden =
            at::relu(hidden_norm_(at::linear(features, hidden_weight_, hidden_bias_), Normalise::by_batch));
        return normalised(at::linear(hidden, projection_weight_, projection_bias_));
    }

    /// The assignments of a large view's samples, balanced together with the queue's where there is one.
    at::Tensor assign(std::int64_t crop, const at::Tensor& scores, const at::Tensor& prototypes,
                      const at::Tensor& projections, bool training) {
        const c10::AutoGradMode no_gradients(false);
        Queue& queue = queues_[static_cast<std::size_t>(crop)];
        const bool queued = training && queue.is_full() && step_ >= swav_.queue_from_step;
        const at::Tensor all =
            queued ? at::cat({scores, queue.held().matmul(prototypes.detach().t())}) : scores;
        if (training) queue.add(projections);
        return sinkhorn(all, swav_.epsilon, swav_.sinkhorn_iterations).narrow(0, 0, scores.size(0));
    }

    SwavSettings swav_;
    std::array<Queue, static_cast<std::size_t>(kLargeCrops)> queues_;
    std::int64_t step_ = 0;
    at::Tensor hidden_weight_, hidden_bias_, projection_weight_, projection_bias_, prototypes_;
    BatchNorm hidden_norm_;
};

}  // namespace

std::unique_ptr<Model> make_swav(const ModelSettings& settings) {
    return std::make_unique<Swav>(settings, Random(settings.seed));
}

}  // namespace shoal::nn
