// Models whose inner representation of an image can be asked for: what a linear probe learns from.
#pragma once

#include <cstdint>
#include <vector>

#include "shoal/data/batch.h"

namespace shoal::nn {

/// Some Models are one: ask by dynamic_cast. Used from one thread at a time.
class FeatureModel {
  public:
    virtual ~FeatureModel() = default;

    /// Numbers that features() gives for an image.
    virtual std::int64_t feature_size() const = 0;

    /// Batch normalisation needs to know what images look like within the model. Gathers that from a batch of
    /// images, adding to what was gathered since forget_statistics(); to be called anew whenever the
    /// parameters have changed. Throws Error(invalid_argument) if the batch is not what the model takes.
    virtual void gather_statistics(const data::Batch& images) = 0;
    virtual void forget_statistics() = 0;

    /// [n, feature_size()]: of each image by itself, once statistics have been gathered; until then the
    /// images of the batch are normalised by each other. Throws as gather_statistics().
    virtual std::vector<float> features(const data::Batch& images) = 0;
};

}  // namespace shoal::nn
