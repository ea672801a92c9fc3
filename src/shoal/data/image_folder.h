// Any folder of images, searched with all its sub-folders (image_file.h says which kinds of files).
//
// If every image lies in a sub-folder, the first sub-folder on its way is its class, in the order of their
// names; otherwise the images have no labels. A file is held out if its name (its path within the folder)
// hashes below the share, so that peers with the same files agree; at least one is, and never all.
//
// Files are decoded as they are needed. Without crops, the middle square of an image is brought to
// image_size. Pixels are normalised with the means and deviations that are customary for ImageNet.
#pragma once

#include <filesystem>
#include <optional>
#include <vector>

#include "shoal/data/dataset.h"

namespace shoal::data {

class ImageFolder final : public Dataset {
  public:
    /// Errors as make_dataset; a damaged file shows when it is decoded: next() and held_out() throw
    /// Error(bad_input) that names it.
    ImageFolder(const DatasetSettings& settings, std::uint64_t peer_seed);

    DataShape shape() const override;
    std::uint64_t samples_an_epoch() const override { return training_.size(); }
    std::uint64_t held_out_size() const override { return held_out_.size(); }
    /// The names of the classes, in the order of their numbers; empty: no labels.
    const std::vector<std::string>& classes() const { return classes_; }

  private:
    struct File {
        std::filesystem::path name;  ///< within the folder
        std::int64_t label = 0;
    };
    std::vector<File> find_files();
    void split(std::vector<File> files, double share);
    void append(Batch& batch, bool held_out, std::uint64_t index, std::uint64_t choice) const override;

    std::filesystem::path folder_;
    std::int64_t image_size_;
    std::vector<std::string> classes_;
    std::vector<File> training_, held_out_;
    std::optional<MultiCrop> crops_;
};

}  // namespace shoal::data
