// An image in memory, and how a part of it becomes an image of another size.
#pragma once

#include <cstdint>
#include <vector>

namespace shoal::data {

/// Planar: [channels, height, width], values in [0, 1].
struct Picture {
    std::int64_t channels = 0, height = 0, width = 0;
    std::vector<float> values;

    std::int64_t plane() const { return height * width; }
};

/// A rectangle of whole pixels within a picture.
struct Box {
    std::int64_t top = 0, left = 0, height = 0, width = 0;
};

/// The largest square in the middle.
Box middle_square(const Picture& picture);

/// The part within `box` as a picture of height x width pixels, by a triangle filter that widens where the
/// part shrinks (what image libraries call 'bilinear with antialiasing'). The box must lie within the picture
/// and not be empty, sizes must be above 0. The same bits on every machine. @param mirrored  left and right
/// change places.
Picture resized(const Picture& picture, const Box& box, std::int64_t height, std::int64_t width,
                bool mirrored = false);

}  // namespace shoal::data
