#include "shoal/nn/convnet.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/conv2d.h>
#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/group_norm.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/relu.h>
#include <cmath>

#include "shoal/base/error.h"
#include "shoal/nn/flat_model.h"
#include "shoal/nn/initialise.h"

namespace shoal::nn {
namespace {

constexpr std::int64_t kGroups = 8;
constexpr std::size_t kStages = 3;

struct GroupNorm {
    at::Tensor weight, bias;
    at::Tensor operator()(const at::Tensor& x) const { return at::group_norm(x, kGroups, weight, bias); }
};

struct Block {
    at::Tensor first, second,
        shortcut;  ///< the shortcut is undefined where input and output have the same form
    GroupNorm first_norm, second_norm;
    std::int64_t stride = 1;

    at::Tensor operator()(const at::Tensor& x) const {
        at::Tensor y = at::relu(first_norm(at::conv2d(x, first, {}, stride, 1)));
        y = second_norm(at::conv2d(y, second, {}, 1, 1));
        return at::relu(y + (shortcut.defined() ? at::conv2d(x, shortcut, {}, stride) : x));
    }
};

class ConvNet final : public FlatModel {
  public:
    explicit ConvNet(const ModelSettings& settings)
        : FlatModel("convnet " + settings.size, settings.threads),
          channels_(settings.channels),
          height_(settings.height),
          width_(settings.width),
          classes_(settings.classes),
          dropout_(settings.dropout),
          dropout_random_(at::make_generator<at::CPUGeneratorImpl>(settings.seed)) {
        std::int64_t filters = settings.size == "tiny" ? 16 : 32;
        std::int64_t blocks = settings.size == "tiny" ? 1 : 2;
        if (settings.size != "tiny" && settings.size != "small") {
            throw Error(ErrorKind::invalid_argument,
                        "there is no convnet size '" + settings.size + "'; choose tiny or small");
        }
        if (settings.filters != 0) filters = settings.filters;
        if (settings.blocks != 0) blocks = settings.blocks;
        check_sizes(filters, blocks);
        build(filters, blocks, settings.seed);
    }

  private:
    void check_sizes(std::int64_t filters, std::int64_t blocks) const {
        if (channels_ < 1 || channels_ > 1024 || height_ < 8 || width_ < 8 || height_ > 65536 ||
            width_ > 65536) {
            throw Error(ErrorKind::invalid_argument,
                        "convnet needs images of at least 8x8 pixels and 1 to 1024 channels; does the run "
                        "use an image data set?");
        }
        if (classes_ < 2 || classes_ > 1'000'000)
            throw Error(ErrorKind::invalid_argument, "convnet needs 2 to 1000000 classes");
        if (filters < kGroups || filters > 4096 || filters % kGroups != 0) {
            throw Error(ErrorKind::invalid_argument,
                        "filters must be a multiple of 8 up to 4096, not " + std::to_string(filters));
        }
        if (blocks < 1 || blocks > 100)
            throw Error(ErrorKind::invalid_argument,
                        "blocks must be 1 to 100, not " + std::to_string(blocks));
    }

    void build(std::int64_t filters, std::int64_t blocks, std::uint64_t seed) {
        Random random(seed);
        std::vector<NamedTensor> all;
        const auto convolution = [&](at::Tensor& target, const std::string& name, std::int64_t in,
                                     std::int64_t out, std::int64_t kernel) {
            // He et al. 2015b: keeps the variance through a relu.
            target = normal_tensor({out, in, kernel, kernel},
                                   std::sqrt(2.0 / static_cast<double>(in * kernel * kernel)), random);
            all.push_back({name + ".weight", target});
        };
        const auto norm = [&](GroupNorm& target, const std::string& name, std::int64_t size) {
            target = {constant_tensor({size}, 1), constant_tensor({size}, 0)};
            all.push_back({name + ".weight", target.weight});
            all.push_back({name + ".bias", target.bias});
        };
        convolution(stem_, "stem.convolution", channels_, filters, 3);
        norm(stem_norm_, "stem.norm", filters);
        std::int64_t in = filters;
        for (std::size_t stage = 0; stage < kStages; ++stage) {
            const std::int64_t out = filters << stage;
            for (std::int64_t i = 0; i < blocks; ++i) {
                const std::string name = "stages." + std::to_string(stage) + "." + std::to_string(i) + ".";
                Block& block = blocks_.emplace_back();
                block.stride = stage > 0 && i == 0 ? 2 : 1;
                convolution(block.first, name + "convolution1", in, out, 3);
                norm(block.first_norm, name + "norm1", out);
                convolution(block.second, name + "convolution2", out, out, 3);
                norm(block.second_norm, name + "norm2", out);
                if (in != out) convolution(block.shortcut, name + "shortcut", in, out, 1);
                in = out;
            }
        }
        head_weight_ = normal_tensor({classes_, in}, 0.01, random);
        head_bias_ = constant_tensor({classes_}, 0);
        all.push_back({"head.weight", head_weight_});
        all.push_back({"head.bias", head_bias_});
        adopt(all);
    }

    void check(const data::Batch& batch) const override {
        if (batch.kind != data::BatchKind::images || batch.channels != channels_ || batch.height != height_ ||
            batch.width != width_) {
            throw Error(ErrorKind::invalid_argument,
                        "convnet was made for images of " + std::to_string(channels_) + "x" +
                            std::to_string(height_) + "x" + std::to_string(width_) +
                            ", but the data set gives " + std::string(data::to_string(batch.kind)) +
                            " of another form; check model and data of the run");
        }
    }

    at::Tensor loss(const data::Batch& batch, bool training) override {
        at::Tensor x = as_tensor(batch.pixels, {batch.samples, channels_, height_, width_}, "pixels");
        x = at::relu(stem_norm_(at::conv2d(x, stem_, {}, 2, 1)));
        for (const Block& block : blocks_) x = block(x);
        x = x.mean({2, 3});
        if (training && dropout_ > 0)
            x = x * at::empty_like(x).bernoulli_(1 - dropout_, dropout_random_).div_(1 - dropout_);
        const at::Tensor scores = at::linear(x, head_weight_, head_bias_);
        return at::cross_entropy_loss(scores, as_tensor(batch.classes, {batch.samples}, "classes"));
    }

    std::int64_t channels_, height_, width_, classes_;
    double dropout_;
    at::Generator dropout_random_;
    at::Tensor stem_, head_weight_, head_bias_;
    GroupNorm stem_norm_;
    std::vector<Block> blocks_;
};

}  // namespace

std::unique_ptr<Model> make_convnet(const ModelSettings& settings) {
    return std::make_unique<ConvNet>(settings);
}

}  // namespace shoal::nn
