// A ResNet without its last layer, and what all models on top of one share. Internal to this room (libtorch
// types).
#pragma once

#include <string>
#include <vector>

#include "shoal/base/random.h"
#include "shoal/nn/batch_norm.h"
#include "shoal/nn/feature_model.h"
#include "shoal/nn/flat_model.h"

namespace shoal::nn {

struct ResNetSizes {
    std::int64_t filters = 0;
    std::vector<std::int64_t> depths;
    bool bottleneck = false;
    bool large_stem = false;
};

/// What size says and the fields that override it. Throws Error(invalid_argument) for what makes no sense.
ResNetSizes resnet_sizes(const ModelSettings& settings);

/// A new convolution's weights: N(0, 2 / outputs of a place), He et al. 2015b.
at::Tensor convolution_tensor(std::int64_t out, std::int64_t in, std::int64_t kernel, Random& random);

class ResNetTrunk {
  public:
    /// Names and order of the tensors are those of torchvision's ResNet.
    ResNetTrunk(std::int64_t channels, const ResNetSizes& sizes, Random& random);

    /// The tensors, for FlatModel::adopt().
    std::vector<NamedTensor> tensors() const;
    std::int64_t features() const { return features_; }
    /// [n, channels, height, width] to [n, features()].
    at::Tensor operator()(const at::Tensor& images, Normalise how) const;
    void forget_statistics() const;

  private:
    struct Layer {
        at::Tensor convolution;
        BatchNorm norm;
        std::int64_t stride = 1, padding = 0;
        at::Tensor operator()(const at::Tensor& x, Normalise how) const;
    };
    struct Block {
        std::string name;
        std::vector<Layer> layers;
        std::vector<Layer> shortcut;  ///< none where input and output have the same form
        at::Tensor operator()(const at::Tensor& x, Normalise how) const;
    };
    static Layer make_layer(std::int64_t in, std::int64_t out, std::int64_t kernel, std::int64_t stride,
                            Random& random);

    bool large_stem_;
    Layer stem_;
    std::vector<Block> blocks_;
    std::int64_t features_ = 0;
};

/// A model that looks at images through a trunk. The derived class adopts the trunk's tensors with its own.
class TrunkModel : public FlatModel, public FeatureModel {
  public:
    std::int64_t feature_size() const final { return trunk_.features(); }
    void gather_statistics(const data::Batch& images) final;
    void forget_statistics() final { trunk_.forget_statistics(); }
    std::vector<float> features(const data::Batch& images) final;

  protected:
    /// Throws Error(invalid_argument) for sizes that make no sense.
    TrunkModel(std::string title, const ModelSettings& settings, Random& random);

    at::Tensor image_tensor(const data::Batch& images) const;
    std::int64_t channels() const { return channels_; }
    const ResNetTrunk& trunk() const { return trunk_; }

  private:
    std::int64_t channels_;
    ResNetTrunk trunk_;
};

}  // namespace shoal::nn
