#include "shoal/data/image_folder.h"

#include <algorithm>
#include <set>
#include <string>
#include <utility>

#include "shoal/base/error.h"
#include "shoal/base/hash.h"
#include "shoal/data/image_file.h"

namespace shoal::data {
namespace {

const std::vector<float> kMean = {0.485F, 0.456F, 0.406F};
const std::vector<float> kDeviation = {0.229F, 0.224F, 0.225F};

/// In [0, 1), the same on every machine.
double place_of(const std::filesystem::path& name) {
    Sha256 hash;
    hash.update(as_bytes("shoal image split"));
    const std::string text = name.generic_string();
    hash.update(as_bytes(std::string_view(text)));
    const Digest digest = hash.finish();
    std::uint64_t number = 0;
    for (std::size_t i = 8; i-- > 0;) number = number << 8 | digest.bytes[i];
    return static_cast<double>(number >> 11) / static_cast<double>(std::uint64_t{1} << 53);
}

}  // namespace

ImageFolder::ImageFolder(const DatasetSettings& settings, std::uint64_t peer_seed)
    : Dataset(peer_seed), folder_(settings.path), image_size_(settings.image_size) {
    if (settings.crops) crops_.emplace(*settings.crops, image_size_, kMean, kDeviation);
    split(find_files(), settings.held_out);
}

std::vector<ImageFolder::File> ImageFolder::find_files() {
    std::error_code error;
    if (!std::filesystem::is_directory(folder_, error))
        throw Error(ErrorKind::bad_input, "image folder " + folder_.string() +
                                              " does not exist or is no folder; check [data] path");
    std::vector<File> files;
    std::set<std::string> classes;
    bool labelled = true;
    const auto follow = std::filesystem::directory_options::follow_directory_symlink;
    std::filesystem::recursive_directory_iterator entry(folder_, follow, error);
    for (; !error && entry != std::filesystem::recursive_directory_iterator(); entry.increment(error)) {
        std::error_code ignored;
        if (!is_image_file(entry->path()) || !entry->is_regular_file(ignored)) continue;
        File file;
        file.name = entry->path().lexically_relative(folder_);
        const std::string first = file.name.begin()->string();
        if (std::next(file.name.begin()) == file.name.end())
            labelled = false;
        else
            classes.insert(first);
        files.push_back(std::move(file));
    }
    if (error)
        throw Error(ErrorKind::bad_input,
                    "image folder " + folder_.string() + " cannot be read: " + error.message());
    if (files.size() < 2)
        throw Error(ErrorKind::bad_input, "image folder " + folder_.string() +
                                              " holds fewer than 2 images (.jpg, .png, .webp, .gif, .bmp, "
                                              ".tif)");
    // The order of a folder differs between file systems.
    std::sort(files.begin(), files.end(),
              [](const File& a, const File& b) { return a.name.generic_string() < b.name.generic_string(); });
    if (!labelled) return files;
    classes_.assign(classes.begin(), classes.end());
    for (File& file : files) {
        const auto found = std::lower_bound(classes_.begin(), classes_.end(), file.name.begin()->string());
        file.label = found - classes_.begin();
    }
    return files;
}

void ImageFolder::split(std::vector<File> files, double share) {
    // The file of the lowest place is held out at least, that of the highest is trained on at least.
    const auto by_place = [](const File& a, const File& b) { return place_of(a.name) < place_of(b.name); };
    const auto [lowest, highest] = std::minmax_element(files.begin(), files.end(), by_place);
    const std::filesystem::path first = lowest->name, last = highest->name;
    for (File& file : files) {
        const bool held = file.name == first || (file.name != last && place_of(file.name) < share);
        (held ? held_out_ : training_).push_back(std::move(file));
    }
}

DataShape ImageFolder::shape() const {
    DataShape shape;
    shape.kind = crops_ ? BatchKind::views : BatchKind::images;
    shape.channels = 3;
    shape.height = shape.width = image_size_;
    shape.classes = static_cast<std::int64_t>(classes_.size());
    if (crops_) crops_->describe(shape);
    return shape;
}

void ImageFolder::append(Batch& batch, bool held_out, std::uint64_t index, std::uint64_t choice) const {
    const File& file = (held_out ? held_out_ : training_)[index];
    const Picture picture = read_image_file(folder_ / file.name);
    batch.classes.push_back(file.label);
    if (crops_) {
        crops_->append(picture, choice, batch);
        return;
    }
    const Picture square = resized(picture, middle_square(picture), image_size_, image_size_);
    const auto plane = static_cast<std::size_t>(square.plane());
    for (std::size_t i = 0; i < square.values.size(); ++i)
        batch.pixels.push_back((square.values[i] - kMean[i / plane]) / kDeviation[i / plane]);
}

}  // namespace shoal::data
