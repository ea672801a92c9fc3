#include "shoal/data/multi_crop.h"

#include "data/expect_error.h"

#include <algorithm>
#include <cmath>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include "shoal/base/random.h"

namespace shoal::data {
namespace {

Picture noise(std::int64_t channels, std::int64_t height, std::int64_t width, std::uint64_t seed = 3) {
    Random random(seed);
    Picture picture{channels, height, width, {}};
    for (std::int64_t i = 0; i < channels * height * width; ++i)
        picture.values.push_back(static_cast<float>(random.uniform()));
    return picture;
}

Picture row_of(std::vector<float> values) {
    const auto width = static_cast<std::int64_t>(values.size());
    return {1, 1, width, std::move(values)};
}

Batch crops_of(const MultiCrop& crops, const Picture& picture, std::uint64_t seed) {
    Batch batch;
    crops.append(picture, seed, batch);
    return batch;
}

MultiCropSettings few_crops() {
    MultiCropSettings settings;
    settings.large_size = 20;
    settings.small_crops = 3;
    settings.small_size = 10;
    return settings;
}

const MultiCrop kCrops(few_crops(), 24, {0.5F, 0.5F, 0.5F}, {0.25F, 0.25F, 0.25F});

TEST(MultiCrop, is_a_function_of_picture_and_seed) {
    const Picture picture = noise(3, 24, 24);
    const Batch once = crops_of(kCrops, picture, 7), again = crops_of(kCrops, picture, 7);
    EXPECT_EQ(once.large_views, again.large_views);
    EXPECT_EQ(once.small_views, again.small_views);
    EXPECT_NE(once.large_views, crops_of(kCrops, picture, 8).large_views);
    EXPECT_NE(once.large_views, crops_of(kCrops, noise(3, 24, 24, 4), 7).large_views);
}

TEST(MultiCrop, gives_two_large_and_the_wanted_number_of_small_views) {
    const Batch batch = crops_of(kCrops, noise(3, 24, 24), 1);
    EXPECT_EQ(batch.large_views.size(), 2U * 3 * 20 * 20);
    EXPECT_EQ(batch.small_views.size(), 3U * 3 * 10 * 10);
    const std::vector<float> first(batch.large_views.begin(), batch.large_views.begin() + 3 * 20 * 20);
    const std::vector<float> second(batch.large_views.begin() + 3 * 20 * 20, batch.large_views.end());
    EXPECT_NE(first, second);
}

/// A change of the drawing of crops would change what peers of a run train on: it must not go unnoticed.
TEST(MultiCrop, draws_the_same_crops_as_ever) {
    Random random(42);
    const Picture picture = noise(1, 28, 28);
    std::vector<std::int64_t> boxes;
    for (int i = 0; i < 2; ++i) {
        const Box box = random_box(picture, {0.14, 1}, random);
        boxes.insert(boxes.end(), {box.top, box.left, box.height, box.width});
    }
    EXPECT_EQ(boxes, (std::vector<std::int64_t>{15, 1, 12, 14, 4, 0, 23, 28}));
}

TEST(MultiCrop, normalises_with_mean_and_deviation) {
    MultiCropSettings plain = few_crops();
    plain.colour = plain.blur = 0;
    const MultiCrop crops(plain, 24, {0.5F}, {0.25F});
    const Picture flat{1, 24, 24, std::vector<float>(24 * 24, 0.75F)};
    for (const float value : crops_of(crops, flat, 5).small_views) EXPECT_NEAR(value, 1, 1e-5);
}

TEST(MultiCrop, takes_sizes_from_the_images_where_none_are_given) {
    DataShape shape;
    MultiCrop({}, 28, {0}, {1}).describe(shape);
    EXPECT_EQ(shape.large_size, 28);
    EXPECT_EQ(shape.small_size, 12);
    MultiCrop({}, 224, {0}, {1}).describe(shape);
    EXPECT_EQ(shape.large_size, 224);
    EXPECT_EQ(shape.small_size, 96);
    EXPECT_EQ(shape.small_crops, 6);
}

TEST(MultiCrop, refuses_settings_that_make_no_sense) {
    const auto refused = [](auto change) {
        MultiCropSettings settings = few_crops();
        change(settings);
        try {
            MultiCrop(settings, 24, {0}, {1});
        } catch (const Error& error) {
            return error.kind() == ErrorKind::invalid_argument;
        }
        return false;
    };
    EXPECT_FALSE(refused([](MultiCropSettings&) {}));
    EXPECT_TRUE(refused([](MultiCropSettings& s) { s.large_size = 7; }));
    EXPECT_FALSE(refused([](MultiCropSettings& s) { s.large_size = 8; }));
    EXPECT_TRUE(refused([](MultiCropSettings& s) { s.small_size = 4097; }));
    EXPECT_TRUE(refused([](MultiCropSettings& s) { s.small_crops = 65; }));
    EXPECT_FALSE(refused([](MultiCropSettings& s) { s.small_crops = 64; }));
    EXPECT_TRUE(refused([](MultiCropSettings& s) { s.large_scale = {0, 1}; }));
    EXPECT_TRUE(refused([](MultiCropSettings& s) { s.large_scale = {0.6, 0.5}; }));
    EXPECT_FALSE(refused([](MultiCropSettings& s) { s.large_scale = {1, 1}; }));
    EXPECT_TRUE(refused([](MultiCropSettings& s) { s.small_scale = {0.5, 1.01}; }));
    EXPECT_TRUE(refused([](MultiCropSettings& s) { s.small_scale = {NAN, 1}; }));
    EXPECT_TRUE(refused([](MultiCropSettings& s) { s.flip = 1.5; }));
    EXPECT_TRUE(refused([](MultiCropSettings& s) { s.colour = NAN; }));
    EXPECT_TRUE(refused([](MultiCropSettings& s) { s.blur = -0.1; }));
    EXPECT_TRUE(refused([](MultiCropSettings& s) { s.blur_sigma = {0, 101}; }));
}

RC_GTEST_PROP(RandomBox, lies_within_the_picture_and_has_about_the_wanted_area, (std::uint64_t seed)) {
    Random random(seed);
    const auto height = static_cast<std::int64_t>(1 + random.below(80));
    const auto width = static_cast<std::int64_t>(1 + random.below(80));
    const Picture picture{1, height, width, {}};
    const double low = 0.01 + 0.99 * random.uniform(), high = low + (1 - low) * random.uniform();
    const Box box = random_box(picture, {low, high}, random);
    RC_ASSERT(box.height >= 1 && box.width >= 1 && box.top >= 0 && box.left >= 0);
    RC_ASSERT(box.top + box.height <= height && box.left + box.width <= width);
    const Box square = middle_square(picture);
    if (box.height == square.height && box.width == square.width) return;  // the way out
    // Rounding moves each side by half a pixel at most.
    const auto area = static_cast<double>(height * width);
    RC_ASSERT((box.height + 0.5) * (box.width + 0.5) >= low * area - 1e-9);
    RC_ASSERT((box.height - 0.5) * (box.width - 0.5) <= high * area + 1e-9);
    RC_ASSERT((box.height - 0.5) / (box.width + 0.5) <= 4.0 / 3 &&
              (box.width - 0.5) / (box.height + 0.5) <= 4.0 / 3);
}

TEST(Resized, to_its_own_size_is_the_picture_itself) {
    const Picture picture = noise(2, 5, 7);
    EXPECT_EQ(resized(picture, {0, 0, 5, 7}, 5, 7).values, picture.values);
}

TEST(Resized, by_hand) {
    // Half as long: each pixel takes 1/8, 3/8, 3/8, 1/8 of four; at the edges what there is of it.
    const Picture half = resized(row_of({0, 8, 16, 24}), {0, 0, 1, 4}, 1, 2);
    EXPECT_NEAR(half.values[0], (0 * 3 + 8 * 3 + 16 * 1) / 7.0, 1e-5);
    EXPECT_NEAR(half.values[1], (8 * 1 + 16 * 3 + 24 * 3) / 7.0, 1e-5);
    // Twice as long: a quarter of the way to the neighbour.
    const Picture twice = resized(row_of({0, 4}), {0, 0, 1, 2}, 1, 4);
    EXPECT_EQ(twice.values, (std::vector<float>{0, 1, 3, 4}));
}

TEST(Resized, takes_nothing_from_outside_of_the_box_and_mirrors) {
    const Picture picture = row_of({100, 0, 4, 100});
    EXPECT_EQ(resized(picture, {0, 1, 1, 2}, 1, 4).values, (std::vector<float>{0, 1, 3, 4}));
    EXPECT_EQ(resized(picture, {0, 1, 1, 2}, 1, 4, true).values, (std::vector<float>{4, 3, 1, 0}));
}

TEST(Blur, keeps_the_sum_of_a_point_and_spreads_it_as_a_gaussian) {
    Picture picture{1, 31, 31, std::vector<float>(31 * 31, 0.0F)};
    picture.values[15 * 31 + 15] = 1;
    blur(picture, 2);
    double sum = 0, squares = 0;
    for (std::int64_t y = 0; y < 31; ++y) {
        for (std::int64_t x = 0; x < 31; ++x) {
            const double value = picture.values[static_cast<std::size_t>(y * 31 + x)];
            sum += value;
            squares += value * static_cast<double>((x - 15) * (x - 15));
        }
    }
    EXPECT_NEAR(sum, 1, 1e-5);
    EXPECT_NEAR(std::sqrt(squares), 2, 0.05);  // cut at three deviations
    EXPECT_NEAR(picture.values[15 * 31 + 17] / picture.values[15 * 31 + 15], std::exp(-0.5), 1e-5);
}

TEST(Blur, of_no_width_changes_nothing_and_flat_pictures_stay_flat) {
    Picture picture = noise(1, 6, 6);
    const std::vector<float> before = picture.values;
    blur(picture, 0);
    EXPECT_EQ(picture.values, before);
    Picture flat{3, 2, 1, std::vector<float>(6, 0.25F)};  // smaller than the kernel
    blur(flat, 2);
    for (const float value : flat.values) EXPECT_NEAR(value, 0.25F, 1e-6);
}

TEST(DistortColour, stays_in_range_and_leaves_a_strength_of_zero_alone) {
    for (std::uint64_t seed = 0; seed < 50; ++seed) {
        for (const std::int64_t channels : {1, 3}) {
            Picture picture = noise(channels, 4, 4, seed);
            const std::vector<float> before = picture.values;
            Random random(seed);
            distort_colour(picture, 0, random);
            EXPECT_EQ(picture.values, before);
            distort_colour(picture, 1, random);
            for (const float value : picture.values) {
                EXPECT_GE(value, 0);
                EXPECT_LE(value, 1);
            }
        }
    }
}

TEST(DistortColour, makes_some_pictures_grey_and_changes_most) {
    int grey = 0, changed = 0;
    for (std::uint64_t seed = 0; seed < 1000; ++seed) {
        Picture picture{3, 1, 1, {0.8F, 0.4F, 0.1F}};
        Random random(seed);
        distort_colour(picture, 1, random);
        const auto& v = picture.values;
        grey += v[0] == v[1] && v[1] == v[2];
        changed += v != std::vector<float>{0.8F, 0.4F, 0.1F};
    }
    EXPECT_NEAR(grey, 200, 60);
    EXPECT_NEAR(changed, 840, 60);  // 1 - 0.2 * 0.8
}

}  // namespace
}  // namespace shoal::data
