#include "shoal/data/text_dataset.h"

#include "data/expect_error.h"
#include "data/sample_text.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <set>

#include "shoal/base/random.h"

namespace shoal::data {
namespace {

using namespace testing_support;

constexpr std::int64_t kLength = 64;

PeerId peer(std::uint8_t number) {
    return PeerId(sha256(ByteView(&number, 1)));
}

DatasetSettings settings() {
    const SampleFiles files = sample_files();
    DatasetSettings settings;
    settings.path = files.text;
    settings.vocabulary = files.vocabulary;
    settings.sequence_length = kLength;
    settings.held_out = 0.05;
    return settings;
}

/// One sample, with the masks taken back.
struct Sample {
    std::vector<std::int64_t> first, second;
    bool swapped = false;
    std::vector<std::int64_t> in_order() const {
        std::vector<std::int64_t> all = swapped ? second : first;
        const auto& rest = swapped ? first : second;
        all.insert(all.end(), rest.begin(), rest.end());
        return all;
    }
};

Sample sample(const Batch& batch, std::size_t index) {
    Sample found;
    found.swapped = batch.sentence_order[index] == 1;
    for (std::size_t i = 0; i < static_cast<std::size_t>(batch.lengths[index]); ++i) {
        const std::size_t at = index * kLength + i;
        const std::int64_t token =
            batch.masked_labels[at] == kIgnoredLabel ? batch.tokens[at] : batch.masked_labels[at];
        if (token == 2 || token == 3) continue;
        (batch.segments[at] == 0 ? found.first : found.second).push_back(token);
    }
    return found;
}

TEST(TextDataset, MakesSamplesOfTheFormThatAlbertWants) {
    const auto dataset = make_dataset(settings(), peer(1));
    const Batch batch = dataset->next(200);
    ASSERT_EQ(batch.tokens.size(), 200U * kLength);
    ASSERT_EQ(batch.segments.size(), 200U * kLength);
    ASSERT_EQ(batch.masked_labels.size(), 200U * kLength);
    ASSERT_EQ(batch.lengths.size(), 200U);
    ASSERT_EQ(batch.sentence_order.size(), 200U);
    for (std::size_t n = 0; n < 200; ++n) {
        const auto length = static_cast<std::size_t>(batch.lengths[n]);
        ASSERT_LE(length, static_cast<std::size_t>(kLength));
        const std::int64_t* tokens = &batch.tokens[n * kLength];
        EXPECT_EQ(tokens[0], 2);
        EXPECT_EQ(tokens[length - 1], 3);
        EXPECT_EQ(std::count(tokens, tokens + length, 3), 2);
        EXPECT_EQ(std::count(tokens + length, tokens + kLength, 0),
                  static_cast<std::ptrdiff_t>(kLength - length));
        const Sample cut = sample(batch, n);
        EXPECT_FALSE(cut.first.empty());
        EXPECT_FALSE(cut.second.empty());
        EXPECT_EQ(cut.first.size() + cut.second.size() + 3, length);
    }
}

TEST(TextDataset, FillsMostSamplesToTheEnd) {
    const Batch batch = make_dataset(settings(), peer(1))->next(500);
    std::int64_t tokens = 0;
    for (const std::int64_t length : batch.lengths) tokens += length;
    EXPECT_GT(static_cast<double>(tokens) / (500.0 * kLength), 0.85);
}

TEST(TextDataset, MasksFifteenPercentInTheUsualProportions) {
    const Batch batch = make_dataset(settings(), peer(1))->next(2000);
    double ordinary = 0, masked = 0, hidden = 0, kept = 0, changed = 0;
    for (std::size_t n = 0; n < 2000; ++n) {
        ordinary += static_cast<double>(batch.lengths[n] - 3);
        for (std::size_t at = n * kLength; at < (n + 1) * kLength; ++at) {
            const std::int64_t label = batch.masked_labels[at];
            if (label == kIgnoredLabel) {
                EXPECT_NE(batch.tokens[at], 4);
                continue;
            }
            EXPECT_NE(label, 2);
            EXPECT_NE(label, 3);
            EXPECT_NE(label, 0);
            ++masked;
            (batch.tokens[at] == 4 ? hidden : batch.tokens[at] == label ? kept : changed) += 1;
        }
    }
    EXPECT_NEAR(masked / ordinary, 0.15, 0.003);
    EXPECT_NEAR(hidden / masked, 0.8, 0.02);
    EXPECT_NEAR(kept / masked, 0.1, 0.02);
    EXPECT_NEAR(changed / masked, 0.1, 0.02);
}

TEST(TextDataset, SwapsHalfOfTheSegmentPairs) {
    const Batch batch = make_dataset(settings(), peer(1))->next(2000);
    const auto swapped = std::count(batch.sentence_order.begin(), batch.sentence_order.end(), 1);
    EXPECT_NEAR(static_cast<double>(swapped) / 2000, 0.5, 0.05);
}

TEST(TextDataset, SegmentsInTheirOrderAreTextOfTheFile) {
    const auto dataset = make_dataset(settings(), peer(1));
    const Vocabulary vocabulary = Vocabulary::load(settings().vocabulary);
    // All text as one stream of tokens, sentence by sentence as the data set takes it.
    const std::string text = read_text(settings().path);
    std::string stream;
    for (std::size_t at = 0; at < text.size();) {
        const std::size_t end = sentence_end(text, at);
        std::vector<std::int64_t> ids;
        vocabulary.encode(trimmed(std::string_view(text).substr(at, end - at)), ids);
        for (const std::int64_t id : ids) stream += "," + std::to_string(id);
        at = end;
    }
    const Batch batch = dataset->next(300);
    int found = 0;
    for (std::size_t n = 0; n < 300; ++n) {
        std::string wanted;
        for (const std::int64_t id : sample(batch, n).in_order()) wanted += "," + std::to_string(id);
        found += stream.find(wanted) != std::string::npos;
    }
    EXPECT_GE(found, 270);  // some start within a sentence: one that is longer than a window
}

TEST(TextDataset, GivesTheSamePeerTheSameBitsAndOthersOtherOnes) {
    const Batch mine = make_dataset(settings(), peer(1))->next(50);
    EXPECT_EQ(make_dataset(settings(), peer(1))->next(50).tokens, mine.tokens);
    EXPECT_NE(make_dataset(settings(), peer(2))->next(50).tokens, mine.tokens);
    DatasetSettings other = settings();
    other.seed = 1;
    EXPECT_NE(make_dataset(other, peer(1))->next(50).tokens, mine.tokens);
}

TEST(TextDataset, DoesNotCareHowSamplesAreCutIntoBatches) {
    const auto whole = make_dataset(settings(), peer(1)), parts = make_dataset(settings(), peer(1));
    Batch joined = parts->next(7);
    const Batch rest = parts->next(13);
    joined.tokens.insert(joined.tokens.end(), rest.tokens.begin(), rest.tokens.end());
    EXPECT_EQ(whole->next(20).tokens, joined.tokens);
}

TEST(TextDataset, GoesOnWhereItStopped) {
    const auto first = make_dataset(settings(), peer(1));
    first->next(123);
    const auto position = first->position();
    EXPECT_EQ(position, 123U);
    const auto resumed = make_dataset(settings(), peer(1));
    resumed->seek(position);
    EXPECT_EQ(resumed->next(30).masked_labels, first->next(30).masked_labels);
}

TEST(TextDataset, MasksAnewInTheNextEpoch) {
    const auto dataset = make_dataset(settings(), peer(1));
    const auto size = dataset->samples_an_epoch();
    std::multiset<std::vector<std::int64_t>> first, second;
    const Batch a = dataset->next(static_cast<std::int64_t>(size)),
                b = dataset->next(static_cast<std::int64_t>(size));
    for (std::size_t n = 0; n < size; ++n) {
        first.insert(sample(a, n).in_order());
        second.insert(sample(b, n).in_order());
    }
    EXPECT_EQ(first, second);  // the same passages
    EXPECT_NE(a.tokens, b.tokens);
}

TEST(TextDataset, HoldsOutTheSameTextForEverybodyAndNeverTrainsOnIt) {
    // Documents of two sentences, each with words of its own.
    Random random(5);
    const Vocabulary vocabulary = Vocabulary::load(settings().vocabulary);
    std::string text;
    for (int i = 0; i < 400; ++i) {
        std::string words;
        for (int w = 0; w < 6; ++w) words += std::to_string(random.below(1000000)) + " ";
        text += "Document " + words + ".\nThen " + words + ".\n\n";
    }
    DatasetSettings own = settings();
    own.path = temporary("documents.txt");
    own.held_out = 0.1;
    write_text(own.path, text);
    const auto mine = make_dataset(own, peer(1)), theirs = make_dataset(own, peer(2));
    ASSERT_GE(mine->held_out_size(), 10U);
    EXPECT_NEAR(static_cast<double>(mine->held_out_size()) / static_cast<double>(mine->samples_an_epoch()),
                0.11, 0.04);
    const auto count = static_cast<std::int64_t>(mine->held_out_size());
    const Batch held = mine->held_out(0, count);
    EXPECT_EQ(held.tokens, theirs->held_out(0, count).tokens);
    EXPECT_EQ(held.masked_labels,
              theirs->held_out(static_cast<std::uint64_t>(count), count).masked_labels);  // begins again

    std::set<std::vector<std::int64_t>> held_passages;
    for (std::size_t n = 0; n < mine->held_out_size(); ++n) held_passages.insert(sample(held, n).in_order());
    const auto epoch = static_cast<std::int64_t>(theirs->samples_an_epoch());
    const Batch training = theirs->next(epoch);
    for (std::size_t n = 0; n < static_cast<std::size_t>(epoch); ++n) {
        EXPECT_FALSE(held_passages.contains(sample(training, n).in_order()));
    }
}

TEST(TextDataset, CutsABookWithoutBlankLinesSoThatItCanBeSplit) {
    DatasetSettings own = settings();
    own.path = temporary("book.txt");
    std::string book = read_text(settings().path);
    for (std::size_t at = book.find("\n\n"); at != std::string::npos; at = book.find("\n\n", at))
        book.replace(at, 2, "\n");
    write_text(own.path, book);
    const auto dataset = make_dataset(own, peer(1));
    EXPECT_GT(dataset->held_out_size(), 0U);
    EXPECT_GT(dataset->samples_an_epoch(), dataset->held_out_size());
}

TEST(TextDataset, SaysWhatIsWrongWithItsFiles) {
    DatasetSettings own = settings();
    own.path = "/nowhere/text.txt";
    expect_error([&] { make_dataset(own, peer(1)); }, ErrorKind::bad_input, "/nowhere/text.txt",
                 "does not exist");
    own.path = std::filesystem::path(::testing::TempDir());
    expect_error([&] { make_dataset(own, peer(1)); }, ErrorKind::bad_input, "is not a file");
    own.path = temporary("text.txt");
    write_text(own.path, "");
    expect_error([&] { make_dataset(own, peer(1)); }, ErrorKind::bad_input, own.path.string(), "is empty");
    write_text(own.path, " \n\n \n");
    expect_error([&] { make_dataset(own, peer(1)); }, ErrorKind::bad_input, own.path.string(), "has no text");
    write_text(own.path, "Only one document.\n");
    expect_error([&] { make_dataset(own, peer(1)); }, ErrorKind::bad_input, own.path.string(),
                 "only one document");
    write_text(own.path, "Same.\n\nSame.\n");
    expect_error([&] { make_dataset(own, peer(1)); }, ErrorKind::bad_input, own.path.string(),
                 "two different");
    own = settings();
    own.vocabulary = "/nowhere/v.model";
    expect_error([&] { make_dataset(own, peer(1)); }, ErrorKind::bad_input, "/nowhere/v.model");
}

TEST(TextDataset, TrainsOnTwoTinyDocuments) {
    DatasetSettings own = settings();
    own.path = temporary("two.txt");
    write_text(own.path, "A first one.\n\nA second one");
    const auto dataset = make_dataset(own, peer(1));
    EXPECT_EQ(dataset->samples_an_epoch(), 1U);
    EXPECT_EQ(dataset->held_out_size(), 1U);
    EXPECT_EQ(dataset->next(5).samples, 5);
}

TEST(DatasetSettings, AreCheckedAtTheirBounds) {
    const auto refuses = [](auto change, const std::string& word) {
        DatasetSettings own = settings();
        change(own);
        expect_error([&] { make_dataset(own, peer(1)); }, ErrorKind::invalid_argument, word);
    };
    refuses([](DatasetSettings& s) { s.kind = "sound"; }, "sound");
    refuses([](DatasetSettings& s) { s.path.clear(); }, "path");
    refuses([](DatasetSettings& s) { s.vocabulary.clear(); }, "vocabulary");
    refuses([](DatasetSettings& s) { s.sequence_length = 7; }, "sequence_length");
    refuses([](DatasetSettings& s) { s.sequence_length = 65537; }, "sequence_length");
    refuses([](DatasetSettings& s) { s.held_out = 0; }, "held_out");
    refuses([](DatasetSettings& s) { s.held_out = 0.51; }, "held_out");
    refuses([](DatasetSettings& s) { s.masked = std::nan(""); }, "masked");
    DatasetSettings least = settings();
    least.sequence_length = 8;
    least.held_out = 0.5;
    least.masked = 0.5;
    EXPECT_EQ(make_dataset(least, peer(1))->next(3).tokens.size(), 24U);
    expect_error([&] { make_dataset(least, peer(1))->next(0); }, ErrorKind::invalid_argument, "at least one");
}

TEST(OrderSeed, IsTheDocumentedHash) {
    const PeerId id = peer(9);
    std::string message = "shoal data order";
    message += as_text(id.bytes());
    message += std::string("\5\0\0\0\0\0\0\0", 8);
    const Digest digest = sha256(as_bytes(message));
    std::uint64_t expected = 0;
    std::memcpy(&expected, digest.bytes.data(), 8);
    EXPECT_EQ(order_seed(id, 5), expected);
}

}  // namespace
}  // namespace shoal::data
