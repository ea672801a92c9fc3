#include "shoal/data/vocabulary.h"

#include "data/expect_error.h"
#include "data/sample_text.h"

#include <cstdlib>
#include <sstream>

namespace shoal::data {
namespace {

using namespace testing_support;

std::vector<std::vector<std::int64_t>> ids_from_spm_encode(const std::filesystem::path& model,
                                                           const std::string& text) {
    const auto input = temporary("input.txt"), output = temporary("ids.txt");
    write_text(input, text);
    const std::string command = "spm_encode --output_format=id --model=" + model.string() + " < " +
                                input.string() + " > " + output.string();
    EXPECT_EQ(std::system(command.c_str()), 0);
    std::istringstream lines(read_text(output));
    std::vector<std::vector<std::int64_t>> all;
    for (std::string line; std::getline(lines, line);) {
        std::istringstream numbers(line);
        auto& ids = all.emplace_back();
        for (std::int64_t id = 0; numbers >> id;) ids.push_back(id);
    }
    return all;
}

TEST(Vocabulary, GivesTheSameIdsAsSentencePiece) {
    const SampleFiles files = sample_files();
    const Vocabulary vocabulary = Vocabulary::load(files.vocabulary);
    std::string text = read_text(files.text);
    text += "  Leading,   double  and trailing spaces \t tab  \n";
    text += "ＦＵＬＬ ｗｉｄｔｈ, ﬁne ligatures, Ⅷ, ① ½ ™ … «quotes» „and“ ‘more’\n";
    text += "ÄÖÜ äöü ß Straße İstanbul naïve café e\xCC\x81\n";
    text += "你好，世界。 こんにちは Привет мир 😀 👩‍👩‍👧\n";
    text += "bad \xFF\xFE utf8 \xC3 and \xE4\xBD end \xED\xA0\x80 \xF4\x90\x80\x80\n";
    text +=
        "[MASK] [CLS] <unk> <pad> \xE2\x96\x81 symbol \xC2\xA0 nbsp \xE3\x80\x80 wide \xE2\x80\x8B zero\n";
    text += "0123456789 2026-01-01 3.14159 x=y+z; a_b\n";
    const auto expected = ids_from_spm_encode(files.vocabulary, text);
    std::istringstream lines(text);
    std::size_t count = 0;
    for (std::string line; std::getline(lines, line); ++count) {
        std::vector<std::int64_t> ids;
        vocabulary.encode(line, ids);
        ASSERT_LT(count, expected.size());
        EXPECT_EQ(ids, expected[count]) << line;
    }
    EXPECT_EQ(count, expected.size());
}

TEST(Vocabulary, HasTheSpecialPiecesFirst) {
    const Vocabulary vocabulary = Vocabulary::load(sample_files().vocabulary);
    EXPECT_EQ(vocabulary.size(), 1000);
    EXPECT_EQ((std::vector<std::int64_t>{vocabulary.padding(), vocabulary.unknown(), vocabulary.classifier(),
                                         vocabulary.separator(), vocabulary.mask()}),
              (std::vector<std::int64_t>{0, 1, 2, 3, 4}));
    EXPECT_EQ(vocabulary.ordinary().size(), 995U);
}

TEST(Vocabulary, TurnsIdsBackIntoText) {
    const Vocabulary vocabulary = Vocabulary::load(sample_files().vocabulary);
    std::vector<std::int64_t> ids;
    vocabulary.encode("The licenses for most Software", ids);
    EXPECT_EQ(vocabulary.decode(ids), "the licenses for most software");
    expect_error([&] { vocabulary.decode(std::vector<std::int64_t>{1000}); }, ErrorKind::invalid_argument,
                 "1000");
}

TEST(TrainVocabulary, GivesTheSameFileAgain) {
    const SampleFiles files = sample_files();
    const auto again = temporary("again.model");
    train_vocabulary(files.text, 1000, again);
    EXPECT_TRUE(read_text(again) == read_text(files.vocabulary));
}

TEST(TrainVocabulary, RefusesTooLittleTextAndLeavesNothingBehind) {
    const auto folder = temporary("folder");
    std::filesystem::create_directory(folder);
    write_text(folder / "little.txt", "Just a few words.\nAnd a few more.\n");
    expect_error([&] { train_vocabulary(folder / "little.txt", 5000, folder / "out.model"); },
                 ErrorKind::bad_input, "5000", "little.txt");
    expect_error([&] { train_vocabulary(folder / "missing.txt", 5000, folder / "out.model"); },
                 ErrorKind::bad_input, "does not exist", "missing.txt");
    expect_error([&] { train_vocabulary(folder / "little.txt", 5000, folder / "no" / "out.model"); },
                 ErrorKind::system, "out.model");
    expect_error([&] { train_vocabulary(folder / "little.txt", 63, folder / "out.model"); },
                 ErrorKind::invalid_argument, "63");
    EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder), {}), 1);
}

TEST(Vocabulary, RefusesFilesThatAreNone) {
    const std::string good = read_text(sample_files().vocabulary);
    const auto load = [](const std::string& content) {
        const auto file = temporary("vocabulary.model");
        write_text(file, content);
        Vocabulary::load(file);
    };
    expect_error([&] { Vocabulary::load("/nowhere/x.model"); }, ErrorKind::bad_input, "does not exist",
                 "/nowhere/x.model");
    expect_error([&] { load(""); }, ErrorKind::bad_input, "is empty");
    expect_error([&] { load("just text"); }, ErrorKind::bad_input, "no SentencePiece model");
    expect_error([&] { load(good.substr(0, good.size() / 2)); }, ErrorKind::bad_input, "damaged");
}

TEST(Vocabulary, SurvivesAnyFlippedByte) {
    const std::string good = read_text(sample_files().vocabulary);
    const auto file = temporary("flipped.model");
    // Every few hundred bytes, and all of the beginning: either an Error or a vocabulary that still cuts
    // text.
    for (std::size_t at = 0; at < good.size(); at += at < 64 ? 1 : 997) {
        std::string bad = good;
        bad[at] = static_cast<char>(bad[at] ^ 0x5A);
        write_text(file, bad);
        try {
            std::vector<std::int64_t> ids;
            const Vocabulary vocabulary = Vocabulary::load(file);
            vocabulary.encode("Some ＴＥＸＴ with œ, ½ and 数", ids);
            for (const std::int64_t id : ids) EXPECT_LT(id, vocabulary.size());
        } catch (const Error& error) {
            EXPECT_EQ(error.kind(), ErrorKind::bad_input) << error.what();
        }
    }
}

}  // namespace
}  // namespace shoal::data
