// How much a model has understood of images: a linear classifier on its frozen features.
#pragma once

#include <cstdint>
#include <functional>

#include "shoal/data/dataset.h"
#include "shoal/nn/feature_model.h"

namespace shoal::train {

struct ProbeSettings {
    std::int64_t samples = 0;  ///< training images to learn from; 0: all
    std::int64_t epochs = 30;
    std::int64_t batch_size = 256;           ///< of the classifier's training
    double learning_rate = 0.3;              ///< at first; falls to 0 along half a cosine
    std::int64_t statistics_samples = 4096;  ///< images from which batch normalisation takes its statistics
    std::uint64_t seed = 1;                  ///< of the order of the samples
};

struct ProbeResult {
    double training_accuracy = 0, test_accuracy = 0;  ///< shares of images
    double test_loss = 0;
    std::int64_t training_images = 0, test_images = 0;
};

/// Gathers the model's statistics, computes the features of all training and held-out images once, brings
/// them to mean 0 and deviation 1, trains a linear classifier (cross-entropy, SGD with momentum) on the
/// former and tests it on the latter. The backbone stays as it is. Blocks, for minutes with a large model.
/// @param images  gives images with at least two classes, else Error(invalid_argument). Its place in the
/// stream is moved.
/// @param progress  called now and then with the share of features that are computed; may be empty.
ProbeResult probe(nn::FeatureModel& model, data::Dataset& images, const ProbeSettings& settings,
                  const std::function<void(double)>& progress = {});

}  // namespace shoal::train
