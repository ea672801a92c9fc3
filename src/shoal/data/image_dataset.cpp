#include "shoal/data/image_dataset.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <string>

#include "shoal/base/error.h"
#include "shoal/data/idx_file.h"

namespace shoal::data {

ImageDataset::Images ImageDataset::load(const std::filesystem::path& folder, const std::string& prefix) {
    IdxArray images = read_idx(folder, prefix + "-images-idx3-ubyte", 3);
    IdxArray labels = read_idx(folder, prefix + "-labels-idx1-ubyte", 1);
    if (images.sizes[0] != labels.sizes[0]) {
        throw Error(ErrorKind::bad_input, "the image files in " + folder.string() +
                                              " do not belong together: " + std::to_string(images.sizes[0]) +
                                              " images but " + std::to_string(labels.sizes[0]) +
                                              " labels in " + prefix + "-*; install or download them again");
    }
    return {images.sizes[1], images.sizes[2], std::move(images.values), std::move(labels.values)};
}

ImageDataset::ImageDataset(const DatasetSettings& settings, std::uint64_t peer_seed)
    : Dataset(peer_seed), training_(load(settings.path, "train")), held_out_(load(settings.path, "t10k")) {
    if (training_.height != held_out_.height || training_.width != held_out_.width) {
        throw Error(ErrorKind::bad_input, "the train and t10k images in " + settings.path.string() +
                                              " have different sizes; install or download them again");
    }
    classes_ = 1 + std::max(*std::ranges::max_element(training_.labels),
                            *std::ranges::max_element(held_out_.labels));

    // From whole numbers, so that every machine gets the same mean and deviation.
    std::array<std::uint64_t, 256> counts{};
    for (const std::uint8_t pixel : training_.pixels) ++counts[pixel];
    double sum = 0, squares = 0;
    for (std::size_t v = 0; v < 256; ++v) {
        sum += static_cast<double>(v * counts[v]);
        squares += static_cast<double>(v * v * counts[v]);
    }
    const auto count = static_cast<double>(training_.pixels.size());
    const double mean = sum / count;
    const double deviation = std::sqrt(std::max(squares / count - mean * mean, 1.0));
    for (std::size_t v = 0; v < 256; ++v)
        normalised_[v] = static_cast<float>((static_cast<double>(v) - mean) / deviation);
    if (settings.crops)
        crops_.emplace(*settings.crops,
                       static_cast<std::int64_t>(std::max(training_.height, training_.width)),
                       std::vector<float>{static_cast<float>(mean / 255)},
                       std::vector<float>{static_cast<float>(deviation / 255)});
}

DataShape ImageDataset::shape() const {
    DataShape shape;
    shape.kind = crops_ ? BatchKind::views : BatchKind::images;
    shape.channels = 1;
    shape.height = static_cast<std::int64_t>(training_.height);
    shape.width = static_cast<std::int64_t>(training_.width);
    shape.classes = classes_;
    if (crops_) crops_->describe(shape);
    return shape;
}

void ImageDataset::append(Batch& batch, bool held_out, std::uint64_t index, std::uint64_t choice) const {
    const Images& images = held_out ? held_out_ : training_;
    const std::size_t size = images.height * images.width;
    const auto first = images.pixels.begin() + static_cast<std::ptrdiff_t>(index * size);
    const auto last = first + static_cast<std::ptrdiff_t>(size);
    batch.classes.push_back(images.labels[index]);
    if (crops_) {
        Picture picture{
            1, static_cast<std::int64_t>(images.height), static_cast<std::int64_t>(images.width), {}};
        std::transform(first, last, std::back_inserter(picture.values),
                       [](std::uint8_t pixel) { return static_cast<float>(pixel) / 255; });
        crops_->append(picture, choice, batch);
        return;
    }
    std::transform(first, last, std::back_inserter(batch.pixels),
                   [this](std::uint8_t pixel) { return normalised_[pixel]; });
}

}  // namespace shoal::data
