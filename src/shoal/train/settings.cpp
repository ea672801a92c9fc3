#include "shoal/train/settings.h"

#include <algorithm>
#include <thread>

#include "shoal/compress/codec.h"

namespace shoal::train {

namespace {

data::MultiCropSettings crop_settings(const run::SwavSection& swav) {
    data::MultiCropSettings crops;
    crops.large_size = swav.large_crop;
    crops.large_scale = swav.large_scale;
    crops.small_crops = swav.small_crops;
    crops.small_size = swav.small_crop;
    crops.small_scale = swav.small_scale;
    crops.flip = swav.flip;
    crops.colour = swav.colour;
    crops.blur = swav.blur;
    crops.blur_sigma = swav.blur_sigma;
    return crops;
}

nn::SwavSettings swav_settings(const run::SwavSection& section) {
    nn::SwavSettings swav;
    swav.projection_hidden = section.projection_hidden;
    swav.projection = section.projection;
    swav.prototypes = section.prototypes;
    swav.frozen_steps = section.frozen_steps;
    swav.temperature = section.temperature;
    swav.epsilon = section.epsilon;
    swav.sinkhorn_iterations = section.sinkhorn_iterations;
    swav.queue = section.queue;
    swav.queue_from_step = section.queue_from_step;
    return swav;
}

}  // namespace

data::DatasetSettings dataset_settings(const run::RunDefinition& definition) {
    data::DatasetSettings settings;
    settings.kind = definition.data.kind;
    settings.path = definition.data.path;
    settings.vocabulary = definition.data.vocabulary;
    settings.sequence_length = definition.data.sequence_length;
    settings.vocabulary_size = definition.data.vocabulary_size;
    settings.held_out = definition.data.held_out;
    settings.masked = definition.data.masked;
    settings.image_size = definition.data.image_size;
    if (definition.model.kind == "swav") settings.crops = crop_settings(definition.swav);
    settings.seed = static_cast<std::uint64_t>(definition.run.seed);
    return settings;
}

nn::ModelSettings model_settings(const run::RunDefinition& definition, const data::DataShape& shape) {
    const auto& model = definition.model;
    nn::ModelSettings settings;
    settings.kind = model.kind == "torchscript" ? model.file.string() : model.kind;
    settings.size = model.size;
    settings.seed = static_cast<std::uint64_t>(definition.run.seed);
    const auto cores = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
    settings.threads = definition.peer.threads > 0 ? static_cast<int>(definition.peer.threads) : cores;
    settings.vocabulary_size = model.vocabulary_size;
    settings.embedding_size = model.embedding_size;
    settings.hidden_size = model.hidden_size;
    settings.feedforward_size = model.feedforward_size;
    settings.layers = model.layers;
    settings.heads = model.heads;
    settings.filters = model.filters;
    settings.blocks = model.blocks;
    for (const double depth : model.depths) settings.depths.push_back(static_cast<std::int64_t>(depth));
    settings.block = model.block;
    settings.stem = model.stem;
    settings.swav = swav_settings(definition.swav);
    settings.dropout = model.dropout;
    settings.adversary.radius = model.adversary_radius;
    settings.adversary.rate = model.adversary_rate;
    settings.adversary.steps = model.adversary_steps;
    nn::adopt_shape(settings, shape);
    return settings;
}

optim::OptimizerSettings optimizer_settings(const run::RunDefinition& definition) {
    const auto& optimizer = definition.optimizer;
    optim::OptimizerSettings settings;
    settings.name = optimizer.name;
    settings.betas = optimizer.betas;
    settings.epsilon = optimizer.epsilon;
    settings.weight_decay = optimizer.weight_decay;
    settings.momentum = optimizer.momentum;
    settings.nesterov = optimizer.nesterov;
    settings.bias_correction = optimizer.bias_correction;
    settings.maximum_weight_norm = optimizer.maximum_weight_norm;
    settings.trust = optimizer.trust;
    settings.trust_clip = optimizer.trust_clip;
    return settings;
}

optim::ScheduleSettings schedule_settings(const run::RunDefinition& definition) {
    const auto& schedule = definition.schedule;
    optim::ScheduleSettings settings;
    settings.kind = schedule.kind;
    settings.learning_rate = schedule.learning_rate;
    settings.start_learning_rate = schedule.start_learning_rate;
    settings.final_learning_rate = schedule.final_learning_rate;
    settings.warmup_steps = schedule.warmup_steps;
    settings.total_steps = definition.schedule_steps();
    optim::check(settings);
    return settings;
}

optim::LocalUpdateSettings local_update_settings(const run::RunDefinition& definition) {
    optim::LocalUpdateSettings settings;
    settings.batch_size = definition.local_updates.batch_size;
    settings.outer_learning_rate = definition.local_updates.outer_learning_rate;
    settings.outer_momentum = definition.local_updates.outer_momentum;
    return settings;
}

std::unique_ptr<ModelSource> make_model_source(const run::RunDefinition& definition, const PeerId& peer) {
    auto dataset = data::make_dataset(dataset_settings(definition), peer);
    auto model = nn::make_model(model_settings(definition, dataset->shape()));
    return std::make_unique<ModelSource>(std::move(model), std::move(dataset),
                                         definition.data.micro_batch_size);
}

bool wants_error_feedback(const run::RunDefinition& definition) {
    const auto& averaging = definition.averaging;
    if (averaging.group_size > 0 || averaging.error_feedback == "off") return false;
    if (averaging.error_feedback == "on") return true;
    constexpr std::size_t kSome = 1 << 20;
    constexpr double kMuch = 1.01;  // contraction: a hundredth of a vector's square is left out
    const compress::Guarantee promise = compress::make_codec(averaging.codec)->guarantee(kSome);
    return !promise.variance_factor && promise.contraction.value_or(1) > kMuch;
}

std::vector<run::TensorLayout> tensor_layout(const optim::ParameterLayout& layout) {
    std::vector<run::TensorLayout> tensors;
    for (const auto& tensor : layout.tensors()) tensors.push_back({tensor.name, tensor.shape});
    return tensors;
}

}  // namespace shoal::train
