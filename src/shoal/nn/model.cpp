#include "shoal/nn/model.h"

#include <algorithm>

#include "shoal/base/error.h"
#include "shoal/nn/albert.h"
#include "shoal/nn/convnet.h"
#include "shoal/nn/resnet.h"
#include "shoal/nn/script_model.h"
#include "shoal/nn/swav.h"

namespace shoal::nn {
namespace {

void check_size(std::size_t given, std::size_t wanted) {
    if (given != wanted) {
        throw Error(ErrorKind::invalid_argument, "the model has " + std::to_string(wanted) +
                                                     " parameters, but was given " + std::to_string(given));
    }
}

}  // namespace

void Model::copy_values_to(std::span<float> out) const {
    check_size(out.size(), size());
    std::ranges::copy(values(), out.begin());
}

void Model::set_values(std::span<const float> new_values) {
    check_size(new_values.size(), size());
    std::ranges::copy(new_values, values().begin());
}

void Model::read_mean_gradient(std::span<float> out) const {
    check_size(out.size(), size());
    const auto samples = static_cast<float>(std::max<std::int64_t>(accumulated_samples(), 1));
    std::ranges::transform(gradient_sum(), out.begin(), [samples](float sum) { return sum / samples; });
}

void adopt_shape(ModelSettings& settings, const data::DataShape& shape) {
    const auto fill = [](std::int64_t& field, std::int64_t known) {
        if (field == 0) field = known;
    };
    fill(settings.vocabulary_size, shape.vocabulary_size);
    fill(settings.sequence_length, shape.sequence_length);
    fill(settings.channels, shape.channels);
    fill(settings.height, shape.height);
    fill(settings.width, shape.width);
    fill(settings.classes, shape.classes);
}

std::unique_ptr<Model> make_model(const ModelSettings& settings) {
    if (settings.threads < 1 || settings.threads > 1024) {
        throw Error(ErrorKind::invalid_argument,
                    "threads must be 1 to 1024, not " + std::to_string(settings.threads));
    }
    // Written so that NaN is refused, too.
    if (!(settings.dropout >= 0 && settings.dropout < 1)) {
        throw Error(ErrorKind::invalid_argument, "dropout must be at least 0 and below 1");
    }
    if (settings.kind == "albert") return make_albert(settings);
    if (settings.kind == "convnet") return make_convnet(settings);
    if (settings.kind == "resnet") return make_resnet(settings);
    if (settings.kind == "swav") return make_swav(settings);
    if (settings.kind.ends_with(".pt")) return load_script_model(settings.kind, settings.threads);
    throw Error(ErrorKind::invalid_argument,
                "there is no model '" + settings.kind +
                    "'; choose albert, convnet, resnet, swav, or a TorchScript file that ends in .pt");
}

}  // namespace shoal::nn
