#include "shoal/data/image_folder.h"

#include "data/expect_error.h"
#include "data/sample_text.h"

#include <cstdio>
#include <gd.h>
#include <gtest/gtest.h>
#include <set>

#include "shoal/data/image_file.h"

namespace shoal::data {
namespace {

using namespace testing_support;

/// Left half of one colour, right half of another; the file's kind by its ending.
void write_image(const std::filesystem::path& file, int width, int height, int left, int right) {
    std::filesystem::create_directories(file.parent_path());
    gdImagePtr image = gdImageCreateTrueColor(width, height);
    gdImageFilledRectangle(image, 0, 0, width / 2 - 1, height - 1, left);
    gdImageFilledRectangle(image, width / 2, 0, width - 1, height - 1, right);
    ASSERT_TRUE(gdImageFile(image, file.c_str())) << file;
    gdImageDestroy(image);
}

constexpr int kRedColour = 0xff0000, kBlueColour = 0x0000ff;

std::filesystem::path folder_of(int images) {
    const auto folder = temporary("image-folder");
    for (int i = 0; i < images; ++i)
        write_image(folder / (i % 2 ? "dogs" : "cats") / (std::to_string(i) + ".png"), 20 + i, 16, i, 7 * i);
    return folder;
}

DatasetSettings settings_of(const std::filesystem::path& folder) {
    DatasetSettings settings;
    settings.kind = "image-folder";
    settings.path = folder;
    settings.image_size = 12;
    settings.held_out = 0.25;
    return settings;
}

TEST(ImageFile, is_read_whatever_its_kind) {
    const auto folder = temporary("image-kinds");
    for (const std::string ending : {".png", ".bmp", ".jpg", ".JPEG", ".webp", ".gif", ".tiff"}) {
        const auto file = folder / ("image" + ending);
        write_image(file, 32, 16, kRedColour, kBlueColour);
        EXPECT_TRUE(is_image_file(file)) << ending;
        const Picture picture = read_image_file(file);
        EXPECT_EQ(picture.channels, 3);
        EXPECT_EQ(picture.height, 16);
        EXPECT_EQ(picture.width, 32);
        const auto plane = static_cast<std::size_t>(picture.plane());
        ASSERT_EQ(picture.values.size(), 3 * plane);
        const std::size_t left = 8 * 32 + 4, right = 8 * 32 + 28;
        EXPECT_NEAR(picture.values[left], 1, 0.05) << ending;  // red
        EXPECT_NEAR(picture.values[2 * plane + left], 0, 0.05) << ending;
        EXPECT_NEAR(picture.values[right], 0, 0.05) << ending;
        EXPECT_NEAR(picture.values[2 * plane + right], 1, 0.05) << ending;  // blue
    }
    std::filesystem::rename(folder / "image.png", folder / "lies.jpg");
    EXPECT_EQ(read_image_file(folder / "lies.jpg").width, 32) << "the contents count";
    EXPECT_FALSE(is_image_file("notes.txt"));
    EXPECT_FALSE(is_image_file("png"));
}

TEST(ImageFile, that_is_missing_or_damaged_is_named) {
    const auto folder = temporary("image-damage");
    expect_error([&] { read_image_file(folder / "none.png"); }, ErrorKind::bad_input, "none.png");
    write_image(folder / "whole.png", 64, 64, kRedColour, kBlueColour);
    write_text(folder / "garbage.jpg", "this is no image");
    expect_error([&] { read_image_file(folder / "garbage.jpg"); }, ErrorKind::bad_input, "garbage.jpg");
    std::filesystem::resize_file(folder / "whole.png", 20);
    expect_error([&] { read_image_file(folder / "whole.png"); }, ErrorKind::bad_input, "whole.png");
}

TEST(ImageFolder, takes_classes_from_sub_folders_and_brings_images_to_one_size) {
    const auto dataset = make_dataset(settings_of(folder_of(24)), PeerId());
    const DataShape shape = dataset->shape();
    EXPECT_EQ(shape.classes, 2);
    EXPECT_EQ(shape.channels, 3);
    EXPECT_EQ(shape.height, 12);
    EXPECT_EQ(dataset->samples_an_epoch() + dataset->held_out_size(), 24U);
    const auto epoch = static_cast<std::int64_t>(dataset->samples_an_epoch());
    const Batch batch = dataset->next(epoch);
    EXPECT_EQ(batch.pixels.size(), static_cast<std::size_t>(epoch * 3 * 12 * 12));
    EXPECT_EQ(std::set<std::int64_t>(batch.classes.begin(), batch.classes.end()),
              (std::set<std::int64_t>{0, 1}));
}

TEST(ImageFolder, holds_out_the_same_files_for_every_peer_and_never_all_or_none) {
    DatasetSettings settings = settings_of(folder_of(2));
    for (const double share : {1e-9, 0.5}) {
        settings.held_out = share;
        const auto dataset = make_dataset(settings, PeerId());
        EXPECT_EQ(dataset->samples_an_epoch(), 1U);
        EXPECT_EQ(dataset->held_out_size(), 1U);
    }
    settings = settings_of(folder_of(60));
    const auto one = make_dataset(settings, PeerId());
    const auto other = make_dataset(settings, PeerId(sha256(as_bytes("another"))));
    EXPECT_EQ(one->held_out(0, 5).pixels, other->held_out(0, 5).pixels);
    EXPECT_NEAR(static_cast<double>(one->held_out_size()), 15, 10);
    EXPECT_NE(one->next(20).pixels, other->next(20).pixels);
}

TEST(ImageFolder, without_sub_folders_has_no_labels_but_views) {
    const auto folder = temporary("image-flat");
    for (int i = 0; i < 4; ++i)
        write_image(folder / (std::to_string(i) + ".jpg"), 30, 20 + i, kRedColour, kBlueColour * i);
    DatasetSettings settings = settings_of(folder);
    settings.crops.emplace();
    settings.crops->small_crops = 2;
    const auto dataset = make_dataset(settings, PeerId());
    EXPECT_EQ(dataset->shape().kind, BatchKind::views);
    EXPECT_EQ(dataset->shape().classes, 0);
    const Batch batch = dataset->next(3);
    EXPECT_EQ(batch.large_size, 12);
    EXPECT_EQ(batch.small_size, 8);
    EXPECT_EQ(batch.large_views.size(), 3U * 2 * 3 * 12 * 12);
    EXPECT_EQ(batch.small_views.size(), 3U * 2 * 3 * 8 * 8);
    EXPECT_TRUE(batch.pixels.empty());
    const auto again = make_dataset(settings, PeerId());
    EXPECT_EQ(again->next(3).large_views, batch.large_views);
    EXPECT_NE(again->next(3).large_views, batch.large_views);
    EXPECT_EQ(again->held_out(0, 1).large_views, dataset->held_out(0, 1).large_views);
}

TEST(ImageFolder, that_is_missing_or_empty_or_holds_a_damaged_file_is_named) {
    expect_error([] { make_dataset(settings_of("/no/such"), PeerId()); }, ErrorKind::bad_input, "/no/such");
    const auto folder = temporary("image-few");
    std::filesystem::create_directories(folder);
    write_text(folder / "readme.txt", "no images here");
    write_image(folder / "only.png", 8, 8, 0, 0);
    expect_error([&] { make_dataset(settings_of(folder), PeerId()); }, ErrorKind::bad_input, folder.string(),
                 "fewer than 2");
    write_text(folder / "broken.png", "garbage");
    const auto dataset = make_dataset(settings_of(folder), PeerId());
    expect_error([&] { dataset->next(1), dataset->held_out(0, 1); }, ErrorKind::bad_input, "broken.png");
    EXPECT_LE(dataset->position(), 1U);
}

TEST(Images, of_idx_files_give_views_when_asked_to) {
    DatasetSettings settings;
    settings.kind = "fashion-mnist";
    settings.crops.emplace();
    const auto dataset = make_dataset(settings, PeerId());
    EXPECT_EQ(dataset->shape().kind, BatchKind::views);
    EXPECT_EQ(dataset->shape().channels, 1);
    const Batch batch = dataset->next(4);
    EXPECT_EQ(batch.large_size, 28);
    EXPECT_EQ(batch.large_views.size(), 4U * 2 * 28 * 28);
    EXPECT_EQ(batch.small_views.size(), 4U * 6 * 12 * 12);
    EXPECT_EQ(batch.classes.size(), 4U);
}

TEST(Datasets, of_text_refuse_crops) {
    DatasetSettings settings;
    settings.kind = "tokens";
    settings.path = "x";
    settings.crops.emplace();
    expect_error([&] { make_dataset(settings, PeerId()); }, ErrorKind::invalid_argument, "crop");
}

}  // namespace
}  // namespace shoal::data
