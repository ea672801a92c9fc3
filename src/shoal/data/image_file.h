// Images in files: JPEG, PNG, WebP, GIF, BMP and TIFF, decoded by libgd.
#pragma once

#include <filesystem>

#include "shoal/data/picture.h"

namespace shoal::data {

/// Whether the name ends like one of an image that read_image_file() decodes, in any case of letters.
bool is_image_file(const std::filesystem::path& file);

/// Three channels: red, green, blue; transparency is ignored. Goes by the contents, not by the name. Throws
/// Error(bad_input) naming the file if it is missing, damaged, or of another kind.
Picture read_image_file(const std::filesystem::path& file);

}  // namespace shoal::data
