#include "data/expect_error.h"
#include "data/sample_text.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <set>
#include <zlib.h>

#include "shoal/data/dataset.h"
#include "shoal/data/image_dataset.h"

namespace shoal::data {
namespace {

using namespace testing_support;

PeerId peer(std::uint8_t number) {
    return PeerId(sha256(ByteView(&number, 1)));
}

TEST(FashionMnist, IsReadWhereDebianPutsIt) {
    DatasetSettings settings;
    settings.kind = "fashion-mnist";
    const auto dataset = make_dataset(settings, peer(1));
    EXPECT_EQ(dataset->samples_an_epoch(), 60000U);
    EXPECT_EQ(dataset->held_out_size(), 10000U);
    EXPECT_EQ(dataset->shape().height, 28);
    EXPECT_EQ(dataset->shape().width, 28);
    EXPECT_EQ(dataset->shape().channels, 1);
    EXPECT_EQ(dataset->shape().classes, 10);

    const Batch batch = dataset->next(60000);
    std::vector<int> classes(10);
    for (const std::int64_t c : batch.classes) ++classes[static_cast<std::size_t>(c)];
    EXPECT_EQ(classes, std::vector<int>(10, 6000));  // each image once
    double sum = 0, squares = 0;
    for (const float pixel : batch.pixels) sum += pixel, squares += static_cast<double>(pixel) * pixel;
    EXPECT_NEAR(sum / static_cast<double>(batch.pixels.size()), 0, 1e-4);
    EXPECT_NEAR(squares / static_cast<double>(batch.pixels.size()), 1, 1e-4);
    // Black is (0 - 0.2860) / 0.3530, the figures that everybody uses for this data set.
    EXPECT_NEAR(*std::ranges::min_element(batch.pixels), -0.2860 / 0.3530, 1e-3);

    EXPECT_EQ(dataset->held_out(0, 100).pixels, make_dataset(settings, peer(2))->held_out(0, 100).pixels);
    EXPECT_NE(make_dataset(settings, peer(2))->next(50).classes,
              make_dataset(settings, peer(1))->next(50).classes);
}

std::string idx(std::initializer_list<int> sizes, const std::string& values) {
    std::string file = {0, 0, 8, static_cast<char>(sizes.size())};
    for (const int size : sizes)
        file += {static_cast<char>(size >> 24), static_cast<char>(size >> 16), static_cast<char>(size >> 8),
                 static_cast<char>(size)};
    return file + values;
}

/// A folder with 4 training and 2 held-out images of 2x3 pixels.
std::filesystem::path small_images() {
    const auto folder = temporary("images");
    std::filesystem::create_directory(folder);
    write_text(folder / "train-images-idx3-ubyte", idx({4, 2, 3}, "abcdefghijklmnopqrstuvwx"));
    write_text(folder / "train-labels-idx1-ubyte", idx({4}, std::string("\0\1\2\1", 4)));
    write_text(folder / "t10k-images-idx3-ubyte", idx({2, 2, 3}, "abcdefghijkl"));
    write_text(folder / "t10k-labels-idx1-ubyte", idx({2}, std::string("\4\1", 2)));
    return folder;
}

TEST(Images, OfAFolderMayBePlainFiles) {
    DatasetSettings settings;
    settings.kind = "images";
    settings.path = small_images();
    const auto dataset = make_dataset(settings, peer(1));
    EXPECT_EQ(dataset->samples_an_epoch(), 4U);
    EXPECT_EQ(dataset->shape().classes, 5);
    const Batch batch = dataset->next(9);  // more than two epochs
    EXPECT_EQ(batch.pixels.size(), 54U);
    EXPECT_EQ(std::count(batch.classes.begin(), batch.classes.begin() + 8, 1), 4);
}

TEST(Images, ThatAreDamagedAreNamed) {
    const auto refuses = [](const std::string& name, const std::string& content, const std::string& word) {
        DatasetSettings settings;
        settings.kind = "images";
        settings.path = small_images();
        if (content.empty()) {
            std::filesystem::remove(settings.path / name);
        } else {
            write_text(settings.path / name, content);
        }
        expect_error([&] { make_dataset(settings, peer(1)); }, ErrorKind::bad_input, settings.path.string(),
                     word);
    };
    const std::string images = "train-images-idx3-ubyte";
    refuses(images, "", "does not exist");
    refuses(images, "abc", "ends too early");
    refuses(images, "this is no IDX file at all", "is no IDX file");
    refuses(images, idx({4, 2, 3}, "abcdefghijklmnopqrstuvw"), "ends too early");
    refuses(images, idx({4, 2, 3}, "abcdefghijklmnopqrstuvwxy"), "longer than its header");
    refuses(images, idx({4, 0, 3}, "x"), "impossible size");
    refuses(images, idx({0x7fffffff, 0x7fffffff, 0x7fffffff}, "x"), "impossible size");
    refuses(images, idx({0x7fffffff, 1, 1}, "x"), "ends too early");
    refuses(images, idx({3, 2, 3}, "abcdefghijklmnopqr"), "3 images but 4 labels");
    refuses("t10k-images-idx3-ubyte", idx({2, 3, 2}, "abcdefghijkl"), "different sizes");
    refuses("t10k-labels-idx1-ubyte", "", "t10k-labels-idx1-ubyte");

    // A gzip file that is cut or has a wrong byte.
    std::string gzip = read_text(std::string(kFashionMnistFolder) + "/train-labels-idx1-ubyte.gz");
    refuses("train-labels-idx1-ubyte.gz", gzip.substr(0, gzip.size() / 2), "train-labels");
    gzip[gzip.size() / 2] = static_cast<char>(~gzip[gzip.size() / 2]);
    refuses("train-labels-idx1-ubyte.gz", gzip, "train-labels");
}

template <typename Id>
std::filesystem::path token_file(const std::string& name, std::size_t count) {
    std::string bytes(count * sizeof(Id), '\0');
    for (std::size_t i = 0; i < count; ++i) {
        const auto id = static_cast<Id>(i % 50000);
        std::memcpy(bytes.data() + i * sizeof(Id), &id, sizeof(Id));
    }
    const auto file = temporary(name);
    write_text(file, bytes);
    return file;
}

DatasetSettings token_settings(const std::filesystem::path& file) {
    DatasetSettings settings;
    settings.kind = "tokens";
    settings.path = file;
    settings.sequence_length = 10;
    settings.held_out = 0.2;
    return settings;
}

TEST(Tokens, AreCutIntoWindowsThatAreTrainedOnOrHeldOut) {
    for (const auto& file :
         {token_file<std::uint16_t>("t.u16", 5005), token_file<std::uint32_t>("t.u32", 5005)}) {
        const auto dataset = make_dataset(token_settings(file), peer(1));
        const auto training = dataset->samples_an_epoch(), held = dataset->held_out_size();
        EXPECT_EQ(training + held, 500U);  // the rest of 5 ids is left out
        EXPECT_GE(held, 16U);
        std::set<std::int64_t> starts;
        const Batch a = dataset->next(static_cast<std::int64_t>(training)),
                    b = dataset->held_out(0, static_cast<std::int64_t>(held));
        for (const Batch* batch : {&a, &b}) {
            for (std::size_t i = 0; i < batch->tokens.size(); i += 10) {
                EXPECT_EQ(batch->tokens[i] % 10, 0);
                EXPECT_EQ(batch->tokens[i + 9], batch->tokens[i] + 9);
                EXPECT_TRUE(starts.insert(batch->tokens[i]).second);
            }
        }
    }
}

TEST(Tokens, ThatDoNotFitAreRefused) {
    const auto refuses = [](const std::filesystem::path& file, const std::string& word) {
        expect_error([&] { make_dataset(token_settings(file), peer(1)); }, ErrorKind::bad_input,
                     file.string(), word);
    };
    refuses("/nowhere/t.u16", "does not exist");
    refuses(token_file<std::uint16_t>("t.bin", 5000), ".u16 or .u32");
    refuses(token_file<std::uint8_t>("t.u16", 5001), "no whole number");
    refuses(token_file<std::uint16_t>("t.u16", 169), "too few");
    const auto least = make_dataset(token_settings(token_file<std::uint16_t>("t.u16", 170)), peer(1));
    EXPECT_EQ(least->samples_an_epoch() + least->held_out_size(), 17U);

    DatasetSettings settings = token_settings(token_file<std::uint16_t>("t.u16", 5000));
    settings.vocabulary_size = 5000;
    EXPECT_EQ(make_dataset(settings, peer(1))->next(400).samples, 400);
    settings.vocabulary_size = 4999;
    expect_error(
        [&] {
            const auto dataset = make_dataset(settings, peer(1));
            dataset->next(static_cast<std::int64_t>(dataset->samples_an_epoch()));
            dataset->held_out(0, static_cast<std::int64_t>(dataset->held_out_size()));
        },
        ErrorKind::bad_input, "4999");
}

}  // namespace
}  // namespace shoal::data
