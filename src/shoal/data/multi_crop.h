// Several random views of one image: two large and some small crops, each flipped, distorted in colour and
// blurred by chance. What SwAV learns from (Caron et al. 2020, 'Unsupervised Learning of Visual Features by
// Contrasting Cluster Assignments').
//
//   crop     a random share of the area at a random place, its sides in a ratio of 3:4 to 4:3; brought to the
//            view's size
//   flip     left and right, with the given probability
//   colour   in 8 of 10 views brightness, contrast and saturation are scaled by 1 +- 0.8 * strength and the
//            hue is turned by +- 0.2 * strength of the circle, in random order; then 2 of 10 become grey.
//            Pictures of one channel know brightness and contrast only
//   blur     Gaussian, with the given probability, of a deviation drawn from the given range
//
// All is a function of the picture, the settings and one seed, with the same bits on every machine.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "shoal/base/random.h"
#include "shoal/data/batch.h"
#include "shoal/data/picture.h"

namespace shoal::data {

/// Large crops of a sample; the assignments of each predict those of the other.
constexpr std::int64_t kLargeCrops = 2;

struct MultiCropSettings {
    std::int64_t large_size = 0;  ///< pixels a side; 0: as the data set's images, whose longer side it is
    std::array<double, 2> large_scale = {0.14, 1};  ///< share of the area, in (0, 1]
    std::int64_t small_crops = 6;                   ///< 0 to 64
    std::int64_t small_size = 0;                    ///< pixels a side; 0: 3/7 of large_size
    std::array<double, 2> small_scale = {0.05, 0.14};
    double flip = 0.5;                            ///< probability
    double colour = 1;                            ///< strength, in [0, 1]
    double blur = 0.5;                            ///< probability
    std::array<double, 2> blur_sigma = {0.1, 2};  ///< pixels, 0 to 100
};

class MultiCrop {
  public:
    /// @param image_size  pixels of the longer side of the data set's images, for a large_size of 0.
    /// @param mean, deviation  of each channel; views are normalised with them.
    /// Throws Error(invalid_argument) that names the field if a setting makes no sense.
    MultiCrop(MultiCropSettings settings, std::int64_t image_size, std::vector<float> mean,
              std::vector<float> deviation);

    /// Puts the form of the views into that of a data set.
    void describe(DataShape& shape) const;

    /// Appends the views of one sample to a batch. The picture has as many channels as there are means.
    void append(const Picture& picture, std::uint64_t seed, Batch& batch) const;

  private:
    void append_view(const Picture& picture, std::int64_t size, const std::array<double, 2>& scale,
                     Random& random, std::vector<float>& target) const;

    MultiCropSettings settings_;
    std::vector<float> mean_, deviation_;
};

/// A random rectangle whose area is a share of the picture's within `scale` (as near as whole pixels and the
/// picture's form allow).
Box random_box(const Picture& picture, const std::array<double, 2>& scale, Random& random);

/// In place: colours (as above), a Gaussian blur whose kernel reaches three deviations, mirrored at the
/// edges.
void distort_colour(Picture& picture, double strength, Random& random);
void blur(Picture& picture, double sigma);

}  // namespace shoal::data
