// What a data set hands to a model: plain vectors, no libtorch type.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace shoal::data {

enum class BatchKind {
    masked_text,  ///< two segments, masked tokens, sentence order: for ALBERT
    tokens,       ///< plain token ids: for own language models
    images,       ///< pixels and a class each
    views,        ///< several random crops of each image, for SwAV
};

/// The kind in words for messages, e.g. "masked text".
std::string_view to_string(BatchKind kind);

/// Label of a token that is no target.
constexpr std::int64_t kIgnoredLabel = -100;

/// What every sample of a data set looks like; fields that do not belong to the kind are 0.
struct DataShape {
    BatchKind kind = BatchKind::images;
    std::int64_t sequence_length = 0;  ///< tokens a sample
    std::int64_t vocabulary_size =
        0;  ///< ids are below it; 0 when unknown (a token file without a declared vocabulary)
    std::int64_t channels = 0, height = 0, width = 0;  ///< of the images, also where the kind is views
    std::int64_t classes = 0;                          ///< 0: the images are not labelled
    std::int64_t large_size = 0, small_crops = 0, small_size = 0;  ///< of the views
};

/// n samples, each array in row-major order. Arrays that do not belong to the kind are empty.
struct Batch {
    BatchKind kind = BatchKind::images;
    std::int64_t samples = 0;

    // Text and tokens
    std::int64_t sequence_length = 0;
    std::vector<std::int64_t> tokens;  ///< [n, sequence_length]

    // Masked text only
    std::vector<std::int64_t> segments;  ///< [n, sequence_length] 0: first segment (and padding), 1: second
    std::vector<std::int64_t> lengths;   ///< [n] tokens before the padding
    std::vector<std::int64_t> masked_labels;   ///< [n, sequence_length] original id, or kIgnoredLabel
    std::vector<std::int64_t> sentence_order;  ///< [n] 0: the segments are in their order, 1: swapped

    // Images and views
    std::int64_t channels = 0;
    std::vector<std::int64_t> classes;  ///< [n]; all 0 where the images are not labelled

    // Images only
    std::int64_t height = 0, width = 0;
    std::vector<float> pixels;  ///< [n, channels, height, width], normalised

    // Views only
    std::int64_t large_size = 0, small_crops = 0, small_size = 0;
    std::vector<float> large_views;  ///< [n, kLargeCrops, channels, large_size, large_size], normalised
    std::vector<float> small_views;  ///< [n, small_crops, channels, small_size, small_size]
};

}  // namespace shoal::data
