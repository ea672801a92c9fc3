#include "shoal/data/image_file.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdio>
#include <gd.h>
#include <memory>
#include <string>
#include <string_view>

#include "shoal/base/error.h"

namespace shoal::data {
namespace {

struct DestroyImage {
    void operator()(gdImage* image) const { gdImageDestroy(image); }
};

/// libgd writes to stderr what an Error will say.
void keep_quiet() {
    static const bool once = [] {
        gdSetErrorMethod([](int, const char*, va_list) {});
        return true;
    }();
    static_cast<void>(once);
}

struct CloseFile {
    void operator()(std::FILE* file) const { std::fclose(file); }
};

/// By what it begins with: names of files found on the Internet often lie.
gdImage* decode(std::FILE* file) {
    std::array<char, 12> start{};
    const std::string_view begin(start.data(), std::fread(start.data(), 1, start.size(), file));
    std::rewind(file);
    if (begin.starts_with("\xff\xd8\xff")) return gdImageCreateFromJpeg(file);
    if (begin.starts_with("\x89PNG")) return gdImageCreateFromPng(file);
    if (begin.starts_with("GIF8")) return gdImageCreateFromGif(file);
    if (begin.starts_with("BM")) return gdImageCreateFromBmp(file);
    if (begin.starts_with("RIFF") && begin.ends_with("WEBP")) return gdImageCreateFromWebp(file);
    if (begin.starts_with("II*") || begin.starts_with("MM")) return gdImageCreateFromTiff(file);
    return nullptr;
}

std::string lower_case_extension(const std::filesystem::path& file) {
    std::string extension = file.extension().string();
    std::transform(extension.begin(), extension.end(), extension.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    return extension;
}

}  // namespace

bool is_image_file(const std::filesystem::path& file) {
    constexpr std::array<std::string_view, 8> kExtensions = {".jpg", ".jpeg", ".png", ".webp",
                                                             ".gif", ".bmp",  ".tif", ".tiff"};
    return std::find(kExtensions.begin(), kExtensions.end(), lower_case_extension(file)) != kExtensions.end();
}

Picture read_image_file(const std::filesystem::path& file) {
    keep_quiet();
    const std::unique_ptr<std::FILE, CloseFile> source(std::fopen(file.c_str(), "rb"));
    const std::unique_ptr<gdImage, DestroyImage> image(source ? decode(source.get()) : nullptr);
    if (!image)
        throw Error(ErrorKind::bad_input,
                    "image file " + file.string() + " is missing, damaged or no image; repair or remove it");
    Picture picture;
    picture.channels = 3;
    picture.height = gdImageSY(image.get());
    picture.width = gdImageSX(image.get());
    const auto plane = static_cast<std::size_t>(picture.plane());
    picture.values.resize(3 * plane);
    std::size_t at = 0;
    for (int y = 0; y < picture.height; ++y) {
        for (int x = 0; x < picture.width; ++x, ++at) {
            const int colour = gdImageGetTrueColorPixel(image.get(), x, y);
            picture.values[at] = static_cast<float>(gdTrueColorGetRed(colour)) / 255;
            picture.values[plane + at] = static_cast<float>(gdTrueColorGetGreen(colour)) / 255;
            picture.values[2 * plane + at] = static_cast<float>(gdTrueColorGetBlue(colour)) / 255;
        }
    }
    return picture;
}

}  // namespace shoal::data
