#include "shoal/train/linear_probe.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/one_hot.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <algorithm>
#include <numeric>
#include <span>
#include <vector>

#include "shoal/base/error.h"
#include "shoal/base/random.h"
#include "shoal/optim/exact_math.h"

namespace shoal::train {
namespace {

constexpr std::int64_t kImagesAtOnce = 128;
constexpr double kMomentum = 0.9;

struct Labelled {
    at::Tensor features;  ///< [n, size]
    at::Tensor classes;   ///< [n]
};

/// @param read  gives the next images: how many.
template <typename Read>
Labelled features_of(nn::FeatureModel& model, std::int64_t count, Read read,
                     const std::function<void(std::int64_t)>& done) {
    Labelled all{at::zeros({count, model.feature_size()}, at::kFloat), at::zeros({count}, at::kLong)};
    float* features = all.features.data_ptr<float>();
    std::int64_t* classes = all.classes.data_ptr<std::int64_t>();
    for (std::int64_t first = 0; first < count; first += kImagesAtOnce) {
        const data::Batch batch = read(first, std::min(kImagesAtOnce, count - first));
        features = std::copy_n(model.features(batch).begin(), batch.samples * model.feature_size(), features);
        classes = std::copy_n(batch.classes.begin(), batch.samples, classes);
        done(batch.samples);
    }
    return all;
}

struct Classifier {
    at::Tensor weight, bias;
    at::Tensor operator()(const at::Tensor& features) const { return at::linear(features, weight, bias); }
};

Classifier train(const Labelled& data, std::int64_t classes, const ProbeSettings& settings) {
    const std::int64_t count = data.features.size(0);
    Classifier classifier{at::zeros({classes, data.features.size(1)}, at::kFloat),
                          at::zeros({classes}, at::kFloat)};
    at::Tensor weight_velocity = at::zeros_like(classifier.weight);
    at::Tensor bias_velocity = at::zeros_like(classifier.bias);
    Random random(settings.seed);
    std::vector<std::int64_t> order(static_cast<std::size_t>(count));
    std::iota(order.begin(), order.end(), 0);
    const std::int64_t batches = (count + settings.batch_size - 1) / settings.batch_size;
    std::int64_t step = 0;
    for (std::int64_t epoch = 0; epoch < settings.epochs; ++epoch) {
        random.shuffle(std::span<std::int64_t>(order));
        for (std::int64_t first = 0; first < count; first += settings.batch_size, ++step) {
            const std::int64_t size = std::min(settings.batch_size, count - first);
            const at::Tensor chosen = at::from_blob(order.data() + first, {size}, at::kLong);
            const at::Tensor features = data.features.index_select(0, chosen);
            const at::Tensor wanted = at::one_hot(data.classes.index_select(0, chosen), classes);
            const at::Tensor error =
                (at::softmax(classifier(features), 1) - wanted) / static_cast<double>(size);
            const double share = static_cast<double>(step) / static_cast<double>(batches * settings.epochs);
            const double rate = settings.learning_rate * optim::half_cosine(share);
            weight_velocity = weight_velocity * kMomentum + error.t().matmul(features);
            bias_velocity = bias_velocity * kMomentum + error.sum({0});
            classifier.weight -= weight_velocity * rate;
            classifier.bias -= bias_velocity * rate;
        }
    }
    return classifier;
}

double accuracy(const Classifier& classifier, const Labelled& data) {
    return classifier(data.features).argmax(1).eq(data.classes).to(at::kDouble).mean().item().toDouble();
}

}  // namespace

ProbeResult probe(nn::FeatureModel& model, data::Dataset& images, const ProbeSettings& settings,
                  const std::function<void(double)>& progress) {
    const c10::AutoGradMode no_gradients(false);
    const std::int64_t classes = images.shape().classes;
    if (images.shape().kind != data::BatchKind::images || classes < 2)
        throw Error(ErrorKind::invalid_argument,
                    "a linear probe needs images with at least two classes; in an image folder each is a "
                    "sub-folder");
    if (settings.samples < 0 || settings.epochs < 1 || settings.batch_size < 1 ||
        settings.statistics_samples < 2)
        throw Error(ErrorKind::invalid_argument,
                    "a linear probe needs at least one epoch, batches of one sample and two images for "
                    "statistics");
    const auto epoch = static_cast<std::int64_t>(images.samples_an_epoch());
    const std::int64_t training = settings.samples > 0 ? std::min(settings.samples, epoch) : epoch;
    const auto testing = static_cast<std::int64_t>(images.held_out_size());

    images.seek(0);
    model.forget_statistics();
    const std::int64_t seen = std::min(settings.statistics_samples, epoch);
    for (std::int64_t first = 0; first < seen; first += kImagesAtOnce)
        model.gather_statistics(images.next(std::min(kImagesAtOnce, seen - first)));

    std::int64_t finished = 0;
    const auto done = [&](std::int64_t samples) {
        finished += samples;
        if (progress) progress(static_cast<double>(finished) / static_cast<double>(training + testing));
    };
    images.seek(0);
    Labelled known = features_of(
        model, training, [&](std::int64_t, std::int64_t count) { return images.next(count); }, done);
    Labelled unknown = features_of(
        model, testing,
        [&](std::int64_t first, std::int64_t count) {
            return images.held_out(static_cast<std::uint64_t>(first), count);
        },
        done);

    const at::Tensor mean = known.features.mean({0}, true);
    const at::Tensor deviation = (known.features - mean).pow(2).mean({0}, true).sqrt().clamp_min(1e-6);
    for (Labelled* part : {&known, &unknown}) part->features = (part->features - mean) / deviation;
    const Classifier classifier = train(known, classes, settings);

    ProbeResult result;
    result.training_images = training;
    result.test_images = testing;
    result.training_accuracy = accuracy(classifier, known);
    result.test_accuracy = accuracy(classifier, unknown);
    result.test_loss =
        at::cross_entropy_loss(classifier(unknown.features), unknown.classes).item().toDouble();
    return result;
}

}  // namespace shoal::train
