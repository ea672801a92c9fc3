#include "shoal/nn/resnet.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/linear.h>

#include "shoal/base/error.h"
#include "shoal/nn/initialise.h"
#include "shoal/nn/resnet_trunk.h"

namespace shoal::nn {
namespace {

class ResNet final : public TrunkModel {
  public:
    ResNet(const ModelSettings& settings, Random random)
        : TrunkModel("resnet " + settings.size, settings, random) {
        if (settings.classes < 2 || settings.classes > 1'000'000)
            throw Error(ErrorKind::invalid_argument,
                        "resnet needs 2 to 1000000 classes; in an image folder each is a sub-folder");
        std::vector<NamedTensor> all = trunk().tensors();
        head_weight_ = normal_tensor({settings.classes, trunk().features()}, 0.01, random);
        head_bias_ = constant_tensor({settings.classes}, 0);
        all.push_back({"fc.weight", head_weight_});
        all.push_back({"fc.bias", head_bias_});
        adopt(all);
    }

  private:
    void check(const data::Batch& batch) const override { image_tensor(batch); }

    at::Tensor loss(const data::Batch& batch, bool /*training*/) override {
        const at::Tensor x = trunk()(image_tensor(batch), Normalise::by_batch);
        return at::cross_entropy_loss(at::linear(x, head_weight_, head_bias_),
                                      as_tensor(batch.classes, {batch.samples}, "classes"));
    }

    at::Tensor head_weight_, head_bias_;
};

}  // namespace

std::unique_ptr<Model> make_resnet(const ModelSettings& settings) {
    return std::make_unique<ResNet>(settings, Random(settings.seed));
}

}  // namespace shoal::nn
