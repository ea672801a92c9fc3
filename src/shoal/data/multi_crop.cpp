#include "shoal/data/multi_crop.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>
#include <utility>

#include "shoal/base/error.h"

namespace shoal::data {
namespace {

constexpr double kJitterShare = 0.8, kGreyShare = 0.2;
constexpr double kJitter = 0.8, kHueJitter = 0.2;
constexpr float kRed = 0.299F, kGreen = 0.587F, kBlue = 0.114F;  // ITU-R BT.601

double between(double low, double high, Random& random) {
    return low + (high - low) * random.uniform();
}

bool happens(double probability, Random& random) {
    return random.uniform() < probability;
}

float clamped(float value) {
    return std::clamp(value, 0.0F, 1.0F);
}

void require(bool condition, const std::string& problem) {
    if (!condition) throw Error(ErrorKind::invalid_argument, problem);
}

// Written so that NaN is refused, too.
void check_shares(const std::array<double, 2>& scale, const std::string& name) {
    require(scale[0] > 0 && scale[0] <= scale[1] && scale[1] <= 1,
            name + " must be two shares above 0 and at most 1, the smaller first");
}

void check_probability(double value, const std::string& name) {
    require(value >= 0 && value <= 1, name + " must be at least 0 and at most 1");
}

/// e^-x for x >= 0 within some 1e-12, made of + * / only: <cmath>'s differs between C libraries.
double decayed(double x) {
    if (x > 200) return 0;
    constexpr int kHalvings = 10;
    const double small = x / (1 << kHalvings);
    double result = 1;
    for (int n = 12; n >= 1; --n) result = 1 - result * small / n;
    for (int i = 0; i < kHalvings; ++i) result *= result;
    return result;
}

std::vector<float> luminance(const Picture& picture) {
    if (picture.channels != 3) return picture.values;
    const auto plane = static_cast<std::size_t>(picture.plane());
    std::vector<float> grey(plane);
    const float* values = picture.values.data();
    for (std::size_t i = 0; i < plane; ++i)
        grey[i] = kRed * values[i] + kGreen * values[plane + i] + kBlue * values[2 * plane + i];
    return grey;
}

void scale_brightness(Picture& picture, float factor) {
    for (float& value : picture.values) value = clamped(value * factor);
}

void scale_contrast(Picture& picture, float factor) {
    const std::vector<float> grey = luminance(picture);
    const double sum = std::accumulate(grey.begin(), grey.end(), 0.0);
    const auto mean = static_cast<float>(sum / static_cast<double>(grey.size()));
    for (float& value : picture.values) value = clamped(mean + (value - mean) * factor);
}

void scale_saturation(Picture& picture, float factor) {
    if (picture.channels != 3) return;
    const std::vector<float> grey = luminance(picture);
    for (std::size_t i = 0; i < picture.values.size(); ++i) {
        const float level = grey[i % grey.size()];
        picture.values[i] = clamped(level + (picture.values[i] - level) * factor);
    }
}

/// Turns the hue by a share of the circle, in (-1, 1): to hue, saturation and value, and back.
void turn_hue(Picture& picture, float turn) {
    if (picture.channels != 3) return;
    const auto plane = static_cast<std::size_t>(picture.plane());
    float* const r = picture.values.data();
    float* const g = r + plane;
    float* const b = g + plane;
    for (std::size_t i = 0; i < plane; ++i) {
        const float high = std::max({r[i], g[i], b[i]}), low = std::min({r[i], g[i], b[i]});
        const float range = high - low;
        if (range <= 0) continue;
        float sixth = 0;
        if (high == r[i])
            sixth = (g[i] - b[i]) / range;
        else if (high == g[i])
            sixth = 2 + (b[i] - r[i]) / range;
        else
            sixth = 4 + (r[i] - g[i]) / range;
        const float turned = sixth + 6 * turn + 12;  // above 0
        const auto channel = [&](float shift) {
            float at = turned + shift;
            at -= 6 * std::floor(at / 6);
            return high - range * std::clamp(std::min(at, 4 - at), 0.0F, 1.0F);
        };
        r[i] = channel(5);
        g[i] = channel(3);
        b[i] = channel(1);
    }
}

void make_grey(Picture& picture) {
    if (picture.channels != 3) return;
    const std::vector<float> grey = luminance(picture);
    for (std::size_t i = 0; i < picture.values.size(); ++i) picture.values[i] = grey[i % grey.size()];
}

/// Of a line of `size` pixels; beyond the edges it goes back, without repeating the edge.
std::int64_t reflected(std::int64_t at, std::int64_t size) {
    if (size == 1) return 0;
    const std::int64_t period = 2 * (size - 1);
    at = ((at % period) + period) % period;
    return at < size ? at : period - at;
}

/// Lines of `size` pixels that are `step` apart; `line(k)` gives the first pixel of the k-th.
template <typename FirstOfLine>
void blur_lines(std::vector<float>& values, const std::vector<float>& kernel, std::int64_t lines,
                std::int64_t size, std::int64_t step, FirstOfLine line) {
    const auto reach = static_cast<std::int64_t>(kernel.size()) / 2;
    std::vector<float> before(static_cast<std::size_t>(size));
    for (std::int64_t k = 0; k < lines; ++k) {
        float* const first = values.data() + line(k);
        for (std::int64_t i = 0; i < size; ++i) before[static_cast<std::size_t>(i)] = first[i * step];
        for (std::int64_t i = 0; i < size; ++i) {
            float sum = 0;
            for (std::int64_t j = -reach; j <= reach; ++j)
                sum += kernel[static_cast<std::size_t>(j + reach)] *
                       before[static_cast<std::size_t>(reflected(i + j, size))];
            first[i * step] = sum;
        }
    }
}

}  // namespace

Box random_box(const Picture& picture, const std::array<double, 2>& scale, Random& random) {
    constexpr int kTries = 10;
    const auto area = static_cast<double>(picture.plane());
    for (int i = 0; i < kTries; ++i) {
        const double wanted = area * between(scale[0], scale[1], random);
        double ratio = between(1, 4.0 / 3, random);
        if (happens(0.5, random)) ratio = 1 / ratio;
        const auto width = static_cast<std::int64_t>(std::floor(std::sqrt(wanted * ratio) + 0.5));
        const auto height = static_cast<std::int64_t>(std::floor(std::sqrt(wanted / ratio) + 0.5));
        if (width < 1 || height < 1 || width > picture.width || height > picture.height) continue;
        const auto top = random.below(static_cast<std::uint64_t>(picture.height - height + 1));
        const auto left = random.below(static_cast<std::uint64_t>(picture.width - width + 1));
        return {static_cast<std::int64_t>(top), static_cast<std::int64_t>(left), height, width};
    }
    return middle_square(picture);
}

void distort_colour(Picture& picture, double strength, Random& random) {
    if (strength > 0 && happens(kJitterShare, random)) {
        const double reach = kJitter * strength;
        const auto factor = [&] { return static_cast<float>(between(1 - reach, 1 + reach, random)); };
        const float brightness = factor(), contrast = factor(), saturation = factor();
        const auto hue = static_cast<float>(between(-kHueJitter, kHueJitter, random) * strength);
        std::array<int, 4> order = {0, 1, 2, 3};
        random.shuffle(std::span<int>(order));
        for (const int which : order) {
            if (which == 0) scale_brightness(picture, brightness);
            if (which == 1) scale_contrast(picture, contrast);
            if (which == 2) scale_saturation(picture, saturation);
            if (which == 3) turn_hue(picture, hue);
        }
    }
    if (strength > 0 && happens(kGreyShare, random)) make_grey(picture);
}

void blur(Picture& picture, double sigma) {
    const auto reach = static_cast<std::int64_t>(std::ceil(3 * sigma));
    if (reach < 1) return;
    std::vector<double> exact;
    for (std::int64_t j = -reach; j <= reach; ++j)
        exact.push_back(decayed(static_cast<double>(j * j) / (2 * sigma * sigma)));
    const double sum = std::accumulate(exact.begin(), exact.end(), 0.0);
    std::vector<float> kernel;
    for (const double weight : exact) kernel.push_back(static_cast<float>(weight / sum));
    blur_lines(picture.values, kernel, picture.channels * picture.height, picture.width, 1,
               [&](std::int64_t k) { return k * picture.width; });
    blur_lines(picture.values, kernel, picture.channels * picture.width, picture.height, picture.width,
               [&](std::int64_t k) { return k / picture.width * picture.plane() + k % picture.width; });
}

MultiCrop::MultiCrop(MultiCropSettings settings, std::int64_t image_size, std::vector<float> mean,
                     std::vector<float> deviation)
    : settings_(settings), mean_(std::move(mean)), deviation_(std::move(deviation)) {
    if (settings_.large_size == 0) settings_.large_size = image_size;
    if (settings_.small_size == 0)
        settings_.small_size = std::max<std::int64_t>(8, settings_.large_size * 3 / 7);
    require(settings_.large_size >= 8 && settings_.large_size <= 4096, "large_crop must be 8 to 4096 pixels");
    require(settings_.small_size >= 8 && settings_.small_size <= 4096, "small_crop must be 8 to 4096 pixels");
    require(settings_.small_crops >= 0 && settings_.small_crops <= 64, "small_crops must be 0 to 64");
    check_shares(settings_.large_scale, "large_scale");
    check_shares(settings_.small_scale, "small_scale");
    check_probability(settings_.flip, "flip");
    check_probability(settings_.colour, "colour");
    check_probability(settings_.blur, "blur");
    const auto& sigma = settings_.blur_sigma;
    require(sigma[0] >= 0 && sigma[0] <= sigma[1] && sigma[1] <= 100,
            "blur_sigma must be two numbers from 0 to 100, the smaller first");
}

void MultiCrop::describe(DataShape& shape) const {
    shape.large_size = settings_.large_size;
    shape.small_crops = settings_.small_crops;
    shape.small_size = settings_.small_size;
}

void MultiCrop::append(const Picture& picture, std::uint64_t seed, Batch& batch) const {
    Random random(seed);
    for (std::int64_t i = 0; i < kLargeCrops; ++i)
        append_view(picture, settings_.large_size, settings_.large_scale, random, batch.large_views);
    for (std::int64_t i = 0; i < settings_.small_crops; ++i)
        append_view(picture, settings_.small_size, settings_.small_scale, random, batch.small_views);
}

void MultiCrop::append_view(const Picture& picture, std::int64_t size, const std::array<double, 2>& scale,
                            Random& random, std::vector<float>& target) const {
    const Box box = random_box(picture, scale, random);
    const bool mirrored = happens(settings_.flip, random);
    Picture view = resized(picture, box, size, size, mirrored);
    distort_colour(view, settings_.colour, random);
    if (happens(settings_.blur, random))
        blur(view, between(settings_.blur_sigma[0], settings_.blur_sigma[1], random));
    const auto plane = static_cast<std::size_t>(view.plane());
    for (std::size_t i = 0; i < view.values.size(); ++i)
        target.push_back((view.values[i] - mean_[i / plane]) / deviation_[i / plane]);
}

}  // namespace shoal::data
