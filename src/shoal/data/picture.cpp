#include "shoal/data/picture.h"

#include <algorithm>
#include <cmath>

namespace shoal::data {
namespace {

/// What one pixel of the result takes from a row or column of the source.
struct Taps {
    std::int64_t first = 0;
    std::vector<float> weights;  ///< sum 1
};

std::vector<Taps> taps_for(std::int64_t from, std::int64_t length, std::int64_t size) {
    const double scale = static_cast<double>(length) / static_cast<double>(size);
    const double reach = std::max(scale, 1.0);
    std::vector<Taps> all(static_cast<std::size_t>(size));
    for (std::int64_t i = 0; i < size; ++i) {
        const double centre = (static_cast<double>(i) + 0.5) * scale;
        const auto low = std::max<std::int64_t>(0, static_cast<std::int64_t>(std::floor(centre - reach)));
        const auto high = std::min(length, static_cast<std::int64_t>(std::ceil(centre + reach)));
        Taps& taps = all[static_cast<std::size_t>(i)];
        taps.first = from + low;
        double sum = 0;
        std::vector<double> weights;
        for (std::int64_t j = low; j < high; ++j) {
            const double distance = std::abs(static_cast<double>(j) + 0.5 - centre) / reach;
            weights.push_back(std::max(0.0, 1 - distance));
            sum += weights.back();
        }
        for (const double weight : weights) taps.weights.push_back(static_cast<float>(weight / sum));
    }
    return all;
}

}  // namespace

Box middle_square(const Picture& picture) {
    const std::int64_t side = std::min(picture.height, picture.width);
    return {(picture.height - side) / 2, (picture.width - side) / 2, side, side};
}

Picture resized(const Picture& picture, const Box& box, std::int64_t height, std::int64_t width,
                bool mirrored) {
    const std::vector<Taps> rows = taps_for(box.top, box.height, height);
    std::vector<Taps> columns = taps_for(box.left, box.width, width);
    if (mirrored) std::reverse(columns.begin(), columns.end());
    Picture result{picture.channels, height, width, {}};
    result.values.reserve(static_cast<std::size_t>(picture.channels * height * width));
    std::vector<float> row(static_cast<std::size_t>(picture.width));
    for (std::int64_t channel = 0; channel < picture.channels; ++channel) {
        const float* plane = picture.values.data() + channel * picture.plane();
        for (const Taps& vertical : rows) {
            std::fill(row.begin(), row.end(), 0.0F);
            const float* line = plane + vertical.first * picture.width;
            for (const float weight : vertical.weights) {
                for (std::int64_t x = box.left; x < box.left + box.width; ++x)
                    row[static_cast<std::size_t>(x)] += weight * line[x];
                line += picture.width;
            }
            for (const Taps& horizontal : columns) {
                float sum = 0;
                const float* at = row.data() + horizontal.first;
                for (const float weight : horizontal.weights) sum += weight * *at++;
                result.values.push_back(sum);
            }
        }
    }
    return result;
}

}  // namespace shoal::data
