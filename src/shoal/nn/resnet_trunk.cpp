#include "shoal/nn/resnet_trunk.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/conv2d.h>
#include <ATen/ops/max_pool2d.h>
#include <ATen/ops/relu.h>
#include <cmath>
#include <map>

#include "shoal/base/error.h"
#include "shoal/nn/initialise.h"

namespace shoal::nn {
namespace {

constexpr std::int64_t kExpansion = 4;  // of a bottleneck's last convolution

std::int64_t checked_channels(const ModelSettings& settings) {
    if (settings.channels < 1 || settings.channels > 1024)
        throw Error(
            ErrorKind::invalid_argument,
            settings.kind + " needs images of 1 to 1024 channels; does the run use an image data set?");
    return settings.channels;
}

}  // namespace

ResNetSizes resnet_sizes(const ModelSettings& settings) {
    static const std::map<std::string, ResNetSizes> named = {{"tiny", {16, {1, 1, 1}, false, false}},
                                                             {"small", {32, {2, 2, 2}, false, false}},
                                                             {"base", {64, {2, 2, 2, 2}, false, true}},
                                                             {"large", {64, {3, 4, 6, 3}, true, true}}};
    const auto refuse = [](const std::string& what) { throw Error(ErrorKind::invalid_argument, what); };
    const auto found = named.find(settings.size);
    if (found == named.end())
        refuse("there is no " + settings.kind + " size '" + settings.size +
               "'; choose tiny, small, base or large");
    ResNetSizes sizes = found->second;
    if (settings.filters != 0) sizes.filters = settings.filters;
    if (!settings.depths.empty()) sizes.depths = settings.depths;
    if (!settings.block.empty()) sizes.bottleneck = settings.block == "bottleneck";
    if (!settings.stem.empty()) sizes.large_stem = settings.stem == "large";
    if (sizes.filters < 1 || sizes.filters > 4096)
        refuse("filters must be 1 to 4096, not " + std::to_string(sizes.filters));
    if (sizes.depths.size() > 8) refuse("depths must name 1 to 8 stages");
    for (const std::int64_t depth : sizes.depths)
        if (depth < 1 || depth > 100) refuse("depths must be 1 to 100, not " + std::to_string(depth));
    if (!settings.block.empty() && settings.block != "basic" && settings.block != "bottleneck")
        refuse("there is no block '" + settings.block + "'; choose basic or bottleneck");
    if (!settings.stem.empty() && settings.stem != "small" && settings.stem != "large")
        refuse("there is no stem '" + settings.stem + "'; choose small or large");
    return sizes;
}

at::Tensor convolution_tensor(std::int64_t out, std::int64_t in, std::int64_t kernel, Random& random) {
    return normal_tensor({out, in, kernel, kernel},
                         std::sqrt(2.0 / static_cast<double>(out * kernel * kernel)), random);
}

at::Tensor ResNetTrunk::Layer::operator()(const at::Tensor& x, Normalise how) const {
    return norm(at::conv2d(x, convolution, {}, stride, padding), how);
}

at::Tensor ResNetTrunk::Block::operator()(const at::Tensor& x, Normalise how) const {
    at::Tensor y = x;
    for (const Layer& layer : layers) {
        y = layer(y, how);
        if (&layer != &layers.back()) y = at::relu(y);
    }
    return at::relu(y + (shortcut.empty() ? x : shortcut.front()(x, how)));
}

ResNetTrunk::Layer ResNetTrunk::make_layer(std::int64_t in, std::int64_t out, std::int64_t kernel,
                                           std::int64_t stride, Random& random) {
    return {convolution_tensor(out, in, kernel, random), BatchNorm(out), stride, kernel / 2};
}

ResNetTrunk::ResNetTrunk(std::int64_t channels, const ResNetSizes& sizes, Random& random)
    : large_stem_(sizes.large_stem) {
    stem_ = make_layer(channels, sizes.filters, large_stem_ ? 7 : 3, 2, random);
    std::int64_t in = sizes.filters;
    for (std::size_t stage = 0; stage < sizes.depths.size(); ++stage) {
        const std::int64_t inner = sizes.filters << stage;
        const std::int64_t out = sizes.bottleneck ? inner * kExpansion : inner;
        for (std::int64_t i = 0; i < sizes.depths[stage]; ++i) {
            const std::int64_t stride = stage > 0 && i == 0 ? 2 : 1;
            Block& block = blocks_.emplace_back();
            block.name = "layer" + std::to_string(stage + 1) + "." + std::to_string(i) + ".";
            if (sizes.bottleneck) {
                block.layers.push_back(make_layer(in, inner, 1, 1, random));
                block.layers.push_back(make_layer(inner, inner, 3, stride, random));
                block.layers.push_back(make_layer(inner, out, 1, 1, random));
            } else {
                block.layers.push_back(make_layer(in, inner, 3, stride, random));
                block.layers.push_back(make_layer(inner, out, 3, 1, random));
            }
            if (in != out || stride != 1) block.shortcut.push_back(make_layer(in, out, 1, stride, random));
            in = out;
        }
    }
    features_ = in;
}

std::vector<NamedTensor> ResNetTrunk::tensors() const {
    std::vector<NamedTensor> all;
    const auto add = [&](const Layer& layer, const std::string& convolution, const std::string& norm) {
        all.push_back({convolution + ".weight", layer.convolution});
        all.push_back({norm + ".weight", layer.norm.weight});
        all.push_back({norm + ".bias", layer.norm.bias});
    };
    add(stem_, "conv1", "bn1");
    for (const Block& block : blocks_) {
        for (std::size_t i = 0; i < block.layers.size(); ++i) {
            const std::string number = std::to_string(i + 1);
            add(block.layers[i], block.name + "conv" + number, block.name + "bn" + number);
        }
        for (const Layer& layer : block.shortcut)
            add(layer, block.name + "downsample.0", block.name + "downsample.1");
    }
    return all;
}

at::Tensor ResNetTrunk::operator()(const at::Tensor& images, Normalise how) const {
    at::Tensor x = at::relu(stem_(images, how));
    if (large_stem_) x = at::max_pool2d(x, 3, 2, 1);
    for (const Block& block : blocks_) x = block(x, how);
    return x.mean({2, 3});
}

void ResNetTrunk::forget_statistics() const {
    stem_.norm.forget();
    for (const Block& block : blocks_) {
        for (const Layer& layer : block.layers) layer.norm.forget();
        for (const Layer& layer : block.shortcut) layer.norm.forget();
    }
}

TrunkModel::TrunkModel(std::string title, const ModelSettings& settings, Random& random)
    : FlatModel(std::move(title), settings.threads),
      channels_(checked_channels(settings)),
      trunk_(channels_, resnet_sizes(settings), random) {}

at::Tensor TrunkModel::image_tensor(const data::Batch& images) const {
    if (images.kind != data::BatchKind::images || images.channels != channels_)
        throw Error(ErrorKind::invalid_argument,
                    "the model was made for images of " + std::to_string(channels_) +
                        " channels, but the data set gives " + std::string(data::to_string(images.kind)) +
                        " of another form; check model and data of the run");
    return as_tensor(images.pixels, {images.samples, channels_, images.height, images.width}, "pixels");
}

void TrunkModel::gather_statistics(const data::Batch& images) {
    const c10::AutoGradMode no_gradients(false);
    use_threads();
    trunk_(image_tensor(images), Normalise::by_batch_gathering);
}

std::vector<float> TrunkModel::features(const data::Batch& images) {
    const c10::AutoGradMode no_gradients(false);
    use_threads();
    const at::Tensor found = trunk_(image_tensor(images), Normalise::by_gathered).contiguous();
    const float* values = found.data_ptr<float>();
    return {values, values + found.numel()};
}

}  // namespace shoal::nn
