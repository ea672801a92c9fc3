#include "shoal/data/dataset.h"

#include <string>

#include "shoal/base/error.h"
#include "shoal/data/image_dataset.h"
#include "shoal/data/image_folder.h"
#include "shoal/data/permutation.h"
#include "shoal/data/text_dataset.h"
#include "shoal/data/token_dataset.h"

namespace shoal::data {
namespace {

// The same for every peer and run, so that held-out losses can be compared.
constexpr std::uint64_t kHeldOutSeed = 0x4e1d0a7;

void check(const DatasetSettings& settings) {
    const auto refuse = [](const std::string& what) { throw Error(ErrorKind::invalid_argument, what); };
    const bool text = settings.kind == "text" || settings.kind == "tokens";
    if (!text && settings.kind != "images" && settings.kind != "fashion-mnist" &&
        settings.kind != "image-folder") {
        refuse("there is no data set kind '" + settings.kind +
               "'; choose text, tokens, images, fashion-mnist or image-folder");
    }
    if (text && settings.crops) refuse("a data set of kind '" + settings.kind + "' has no images to crop");
    if (settings.image_size < 8 || settings.image_size > 4096)
        refuse("image_size must be 8 to 4096, not " + std::to_string(settings.image_size));
    if (settings.path.empty() && settings.kind != "fashion-mnist")
        refuse("a data set of kind '" + settings.kind + "' needs a path");
    if (settings.kind == "text" && settings.vocabulary.empty())
        refuse("a data set of kind 'text' needs a vocabulary");
    if (text && (settings.sequence_length < 2 || settings.sequence_length > 65536)) {
        refuse("sequence_length must be 2 to 65536, not " + std::to_string(settings.sequence_length));
    }
    // Written so that NaN is refused, too.
    if (!(settings.held_out > 0 && settings.held_out <= 0.5))
        refuse("held_out must be above 0 and at most 0.5");
    if (!(settings.masked > 0 && settings.masked <= 0.5)) refuse("masked must be above 0 and at most 0.5");
    if (settings.vocabulary_size < 0) refuse("vocabulary_size must not be negative");
}

}  // namespace

std::string_view to_string(BatchKind kind) {
    switch (kind) {
        case BatchKind::masked_text:
            return "masked text";
        case BatchKind::tokens:
            return "tokens";
        case BatchKind::images:
            return "images";
        case BatchKind::views:
            return "views of images";
    }
    return "unknown";
}

Batch Dataset::begin(std::int64_t samples) const {
    if (samples <= 0) throw Error(ErrorKind::invalid_argument, "a batch needs at least one sample");
    const DataShape form = shape();
    Batch batch;
    batch.kind = form.kind;
    batch.samples = samples;
    batch.sequence_length = form.sequence_length;
    batch.channels = form.channels;
    batch.tokens.reserve(static_cast<std::size_t>(samples * form.sequence_length));
    if (form.kind == BatchKind::views) {
        batch.large_size = form.large_size;
        batch.small_crops = form.small_crops;
        batch.small_size = form.small_size;
        const auto floats = [&](std::int64_t crops, std::int64_t size) {
            return static_cast<std::size_t>(samples * crops * form.channels * size * size);
        };
        batch.large_views.reserve(floats(kLargeCrops, form.large_size));
        batch.small_views.reserve(floats(form.small_crops, form.small_size));
        return batch;
    }
    batch.height = form.height;
    batch.width = form.width;
    batch.pixels.reserve(static_cast<std::size_t>(samples * form.channels * form.height * form.width));
    return batch;
}

Batch Dataset::next(std::int64_t samples) {
    Batch batch = begin(samples);
    const std::uint64_t size = samples_an_epoch();
    for (std::uint64_t i = position_; i < position_ + static_cast<std::uint64_t>(samples); ++i) {
        const Permutation order(size, mix(seed_, i / size));
        append(batch, false, order(i % size), mix(~seed_, i));
    }
    position_ += static_cast<std::uint64_t>(samples);  // last: a failed call has taken nothing
    return batch;
}

Batch Dataset::held_out(std::uint64_t first, std::int64_t samples) const {
    Batch batch = begin(samples);
    const std::uint64_t size = held_out_size();
    const Permutation order(size, kHeldOutSeed);
    for (std::uint64_t i = first; i < first + static_cast<std::uint64_t>(samples); ++i) {
        append(batch, true, order(i % size), mix(kHeldOutSeed, i % size));
    }
    return batch;
}

std::uint64_t order_seed(const PeerId& peer, std::uint64_t run_seed) {
    Sha256 hash;
    hash.update(as_bytes("shoal data order"));
    hash.update(peer.bytes());
    const std::uint64_t seeds[1] = {run_seed};
    hash.update(as_bytes(std::span<const std::uint64_t>(seeds)));
    const Digest digest = hash.finish();
    std::uint64_t seed = 0;
    for (std::size_t i = 8; i-- > 0;) seed = seed << 8 | digest.bytes[i];
    return seed;
}

std::unique_ptr<Dataset> make_dataset(const DatasetSettings& settings, const PeerId& peer) {
    check(settings);
    const std::uint64_t seed = order_seed(peer, settings.seed);
    if (settings.kind == "text") return std::make_unique<TextDataset>(settings, seed);
    if (settings.kind == "tokens") return std::make_unique<TokenDataset>(settings, seed);
    if (settings.kind == "image-folder") return std::make_unique<ImageFolder>(settings, seed);
    DatasetSettings images = settings;
    if (images.path.empty()) images.path = kFashionMnistFolder;
    return std::make_unique<ImageDataset>(images, seed);
}

}  // namespace shoal::data
