// Images with a class each, from the IDX files of the MNIST family (yann.lecun.com/exdb/mnist describes the
// format), plain or gzip: train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte,
// t10k-labels-idx1-ubyte, each with or without .gz.
//
// One grey channel; pixels are normalised with mean and deviation of the training images. The t10k files are
// the held-out samples, in their order. With DatasetSettings::crops, batches hold views. Everything is held
// in memory as bytes (55 MB for Fashion-MNIST, 0.3 s to read).
#pragma once

#include <optional>
#include <vector>

#include "shoal/data/dataset.h"

namespace shoal::data {

/// Where Debian's package dataset-fashion-mnist puts its files.
constexpr const char* kFashionMnistFolder = "/usr/share/datasets/fashion-mnist";

class ImageDataset final : public Dataset {
  public:
    /// Errors as make_dataset.
    ImageDataset(const DatasetSettings& settings, std::uint64_t peer_seed);

    DataShape shape() const override;
    std::uint64_t samples_an_epoch() const override { return training_.labels.size(); }
    std::uint64_t held_out_size() const override { return held_out_.labels.size(); }

  private:
    struct Images {
        std::size_t height = 0, width = 0;
        std::vector<std::uint8_t> pixels;  ///< [count, height, width]
        std::vector<std::uint8_t> labels;  ///< [count]
    };
    static Images load(const std::filesystem::path& folder, const std::string& prefix);
    void append(Batch& batch, bool held_out, std::uint64_t index, std::uint64_t choice) const override;

    Images training_, held_out_;
    std::int64_t classes_ = 0;
    float normalised_[256] = {};  ///< the float for each byte
    std::optional<MultiCrop> crops_;
};

}  // namespace shoal::data
