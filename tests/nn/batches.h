// Small batches made by formula.
#pragma once

#include "shoal/base/random.h"
#include "shoal/data/batch.h"
#include "shoal/nn/model.h"

namespace shoal::nn::testing_support {

constexpr std::int64_t kVocabulary = 50;
constexpr std::int64_t kLength = 12;

inline data::Batch masked_text(std::int64_t samples, std::uint64_t seed = 1) {
    Random random(seed);
    data::Batch batch;
    batch.kind = data::BatchKind::masked_text;
    batch.samples = samples;
    batch.sequence_length = kLength;
    for (std::int64_t n = 0; n < samples; ++n) {
        const auto length = static_cast<std::int64_t>(8 + random.below(5));
        for (std::int64_t i = 0; i < kLength; ++i) {
            batch.tokens.push_back(i < length ? static_cast<std::int64_t>(random.below(kVocabulary)) : 0);
            batch.segments.push_back(i > 4 && i < length ? 1 : 0);
            const bool masked = i < length && (i == 2 || random.below(4) == 0);
            batch.masked_labels.push_back(masked ? static_cast<std::int64_t>(random.below(kVocabulary))
                                                 : data::kIgnoredLabel);
        }
        batch.lengths.push_back(length);
        batch.sentence_order.push_back(static_cast<std::int64_t>(random.below(2)));
    }
    return batch;
}

inline data::Batch images(std::int64_t samples, std::int64_t size = 12, std::uint64_t seed = 1) {
    Random random(seed);
    data::Batch batch;
    batch.kind = data::BatchKind::images;
    batch.samples = samples;
    batch.channels = 1;
    batch.height = batch.width = size;
    for (std::int64_t i = 0; i < samples * size * size; ++i)
        batch.pixels.push_back(static_cast<float>(random.normal()));
    for (std::int64_t i = 0; i < samples; ++i)
        batch.classes.push_back(static_cast<std::int64_t>(random.below(10)));
    return batch;
}

inline data::Batch views(std::int64_t samples, std::int64_t small_crops = 2, std::uint64_t seed = 1) {
    Random random(seed);
    data::Batch batch;
    batch.kind = data::BatchKind::views;
    batch.samples = samples;
    batch.channels = 1;
    batch.large_size = 16;
    batch.small_crops = small_crops;
    batch.small_size = 8;
    for (std::int64_t i = 0; i < samples * 2 * 16 * 16; ++i)
        batch.large_views.push_back(static_cast<float>(random.normal()));
    for (std::int64_t i = 0; i < samples * small_crops * 8 * 8; ++i)
        batch.small_views.push_back(static_cast<float>(random.normal()));
    batch.classes.assign(static_cast<std::size_t>(samples), 0);
    return batch;
}

/// Samples [first, first + count) of a batch.
inline data::Batch part(const data::Batch& whole, std::int64_t first, std::int64_t count) {
    data::Batch batch = whole;
    batch.samples = count;
    const auto cut = [&](auto& target, const auto& source) {
        const auto each = static_cast<std::int64_t>(source.size()) / whole.samples;
        target.assign(source.begin() + first * each, source.begin() + (first + count) * each);
    };
    cut(batch.tokens, whole.tokens);
    cut(batch.segments, whole.segments);
    cut(batch.masked_labels, whole.masked_labels);
    cut(batch.lengths, whole.lengths);
    cut(batch.sentence_order, whole.sentence_order);
    cut(batch.pixels, whole.pixels);
    cut(batch.classes, whole.classes);
    return batch;
}

inline ModelSettings little_albert() {
    ModelSettings settings;
    settings.vocabulary_size = kVocabulary;
    settings.sequence_length = kLength;
    settings.embedding_size = 8;
    settings.hidden_size = 16;
    settings.heads = 2;
    settings.layers = 2;
    settings.feedforward_size = 24;
    return settings;
}

inline ModelSettings little_convnet(std::int64_t size = 12) {
    ModelSettings settings;
    settings.kind = "convnet";
    settings.channels = 1;
    settings.height = settings.width = size;
    settings.classes = 10;
    settings.filters = 8;
    return settings;
}

inline ModelSettings little_resnet(const std::string& kind = "resnet") {
    ModelSettings settings;
    settings.kind = kind;
    settings.channels = 1;
    settings.height = settings.width = 16;
    settings.classes = 10;
    settings.filters = 8;
    settings.depths = {1, 1};
    settings.swav.projection_hidden = 16;
    settings.swav.projection = 8;
    settings.swav.prototypes = 12;
    return settings;
}

}  // namespace shoal::nn::testing_support
