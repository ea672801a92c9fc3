#include "shoal/data/text_dataset.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <string>

#include "shoal/base/error.h"
#include "shoal/base/random.h"
#include "shoal/data/sentences.h"

namespace shoal::data {
namespace {

constexpr std::size_t kLongestDocument = std::size_t{64} << 10;
constexpr std::uint64_t kSplitSeed = 0x5b10a1d0c5;  // fixed for ever: it decides what is held out
constexpr std::int64_t kSpecialTokens = 3;          // [CLS] and two [SEP]

/// End of the document that starts at `begin`: the next blank line, or a line end once it is too long.
std::size_t document_end(std::string_view text, std::size_t begin) {
    std::size_t at = begin;
    while (at < text.size()) {
        const std::size_t line_end = std::min(text.find('\n', at), text.size());
        if (trimmed(text.substr(at, line_end - at)).empty()) return at;
        at = std::min(line_end + 1, text.size());
        if (at - begin >= kLongestDocument) return at;
    }
    return at;
}

/// Replaces the tokens to be guessed and records what they were. `ordinary` are the places that may be
/// masked.
void mask_tokens(std::span<std::int64_t> tokens, std::span<std::int64_t> labels,
                 std::vector<std::size_t>& ordinary, double share, const Vocabulary& vocabulary,
                 Random& random) {
    const auto wanted = static_cast<std::size_t>(std::lround(share * static_cast<double>(ordinary.size())));
    const std::size_t count = std::clamp<std::size_t>(wanted, 1, ordinary.size());
    for (std::size_t i = 0; i < count; ++i) {
        std::swap(ordinary[i], ordinary[i + random.below(ordinary.size() - i)]);
        const std::size_t place = ordinary[i];
        labels[place] = tokens[place];
        const double choice = random.uniform();
        if (choice < 0.8) {
            tokens[place] = vocabulary.mask();
        } else if (choice < 0.9) {
            tokens[place] = vocabulary.ordinary()[random.below(vocabulary.ordinary().size())];
        }
    }
}

}  // namespace

void TextDataset::Documents::add(std::size_t begin, std::size_t end) {
    spans.push_back({begin, end, bytes});
    bytes += end - begin;
}

std::uint64_t TextDataset::Documents::windows(std::uint64_t window_bytes) const {
    return (bytes + window_bytes - 1) / window_bytes;
}

const TextDataset::Documents::Span& TextDataset::Documents::at(std::uint64_t offset) const {
    const auto after = std::ranges::upper_bound(spans, offset, {}, &Span::offset);
    return *std::prev(after);
}

TextDataset::TextDataset(const DatasetSettings& settings, std::uint64_t peer_seed)
    : Dataset(peer_seed),
      path_(settings.path),
      file_(settings.path, "text file", "check `path` of the data set"),
      vocabulary_(Vocabulary::load(settings.vocabulary)),
      sequence_length_(settings.sequence_length),
      masked_(settings.masked) {
    if (sequence_length_ < 8)
        throw Error(ErrorKind::invalid_argument, "text needs a sequence_length of at least 8");
    split_documents(settings.held_out);
    window_bytes_ = measure_window();
}

DataShape TextDataset::shape() const {
    return {.kind = BatchKind::masked_text,
            .sequence_length = sequence_length_,
            .vocabulary_size = vocabulary_.size()};
}

void TextDataset::split_documents(double share) {
    struct Found {
        std::size_t begin, end;
        std::uint64_t hash;
    };
    std::vector<Found> found;
    const std::string_view text = file_.text();
    for (std::size_t at = 0; at < text.size();) {
        const std::size_t end = document_end(text, at);
        const std::string_view document = trimmed(text.substr(at, end - at));
        if (!document.empty()) {
            const auto begin = static_cast<std::size_t>(document.data() - text.data());
            found.push_back(
                {begin, begin + document.size(), fingerprint(as_bytes(document), kSplitSeed).low});
        }
        at = end > at ? end : std::min(text.find('\n', at), text.size() - 1) + 1;
    }
    if (found.size() < 2) {
        throw Error(ErrorKind::bad_input,
                    "text file " + path_.string() +
                        (found.empty() ? " has no text" : " has only one document") +
                        "; put blank lines between documents, at least one of them is held out");
    }
    // A document below the bound is held out; if chance left one side empty, the extreme one changes sides.
    auto bound = static_cast<std::uint64_t>(std::ldexp(share, 64));
    const auto [lowest, highest] = std::ranges::minmax_element(found, {}, &Found::hash);
    bound = std::clamp(bound, lowest->hash + 1, std::max(highest->hash, lowest->hash + 1));
    for (const Found& document : found) {
        (document.hash < bound ? held_out_ : training_).add(document.begin, document.end);
    }
    if (training_.spans.empty()) {
        throw Error(ErrorKind::bad_input, "text file " + path_.string() +
                                              " repeats one document; it needs at least two different ones");
    }
}

/// Bytes that give `sequence_length` tokens on average, from a look at up to 64 evenly spaced places.
std::uint64_t TextDataset::measure_window() const {
    constexpr std::uint64_t kPlaces = 64;
    std::vector<std::int64_t> tokens;
    std::uint64_t bytes = 0;
    for (std::uint64_t i = 0; i < kPlaces; ++i) {
        const auto& document = training_.at(training_.bytes / kPlaces * i);
        const std::string_view text =
            file_.text().substr(document.begin, std::min<std::size_t>(document.end - document.begin, 1024));
        vocabulary_.encode(text, tokens);
        bytes += text.size();
    }
    const double bytes_a_token =
        static_cast<double>(bytes) / static_cast<double>(std::max<std::size_t>(tokens.size(), 1));
    const double window = bytes_a_token * static_cast<double>(sequence_length_ - kSpecialTokens);
    return static_cast<std::uint64_t>(std::clamp(window, 1.0, 1e9));
}

TextDataset::Passage TextDataset::read_passage(const Documents& documents, std::uint64_t window) const {
    const std::uint64_t offset = window * window_bytes_;
    const auto& document = documents.at(offset);
    const std::string_view text = file_.text().substr(document.begin, document.end - document.begin);
    // Near the end of a document there is not enough left to fill a sample: start earlier.
    const auto wished = static_cast<std::size_t>(offset - document.offset);
    const std::size_t latest =
        text.size() > window_bytes_ ? text.size() - static_cast<std::size_t>(window_bytes_) : 0;
    std::size_t at = std::min(wished, latest);
    if (at > 0) at = sentence_end(text, at - 1);
    if (at >= text.size()) at = std::min(wished, latest);
    while (at > 0 && (static_cast<unsigned char>(text[at]) & 0xC0U) == 0x80U) --at;

    Passage passage;
    const auto room = static_cast<std::size_t>(sequence_length_ - kSpecialTokens);
    while (at < text.size() && passage.tokens.size() < room) {
        const std::size_t end = sentence_end(text, at);
        vocabulary_.encode(trimmed(text.substr(at, end - at)), passage.tokens);
        if (passage.ends.empty() ? !passage.tokens.empty() : passage.tokens.size() > passage.ends.back()) {
            passage.ends.push_back(std::min(passage.tokens.size(), room));
        }
        at = end;
    }
    passage.tokens.resize(std::min(passage.tokens.size(), room));
    return passage;
}

void TextDataset::append(Batch& batch, bool held_out, std::uint64_t index, std::uint64_t choice) const {
    const Documents& documents = held_out ? held_out_ : training_;
    // A window whose text gives fewer than two tokens (a lone number) cannot be split: take the next one that
    // can.
    const std::uint64_t windows = documents.windows(window_bytes_);
    Passage passage = read_passage(documents, index);
    for (std::uint64_t tried = 1; passage.tokens.size() < 2; ++tried) {
        if (tried == windows) {
            throw Error(
                ErrorKind::bad_input,
                "text file " + path_.string() + " has no document of two words or more to take samples from");
        }
        passage = read_passage(documents, (index + tried) % windows);
    }
    Random random(choice);
    const std::size_t sentences = passage.ends.size();
    const std::size_t split = sentences >= 2 ? passage.ends[random.below(sentences - 1)]
                                             : 1 + random.below(passage.tokens.size() - 1);
    const bool swapped = random.below(2) == 1;
    const std::span<const std::int64_t> all(passage.tokens);
    const auto first = swapped ? all.subspan(split) : all.first(split);
    const auto second = swapped ? all.first(split) : all.subspan(split);

    const std::size_t start = batch.tokens.size();
    const auto length = static_cast<std::size_t>(sequence_length_);
    batch.tokens.push_back(vocabulary_.classifier());
    batch.tokens.insert(batch.tokens.end(), first.begin(), first.end());
    batch.tokens.push_back(vocabulary_.separator());
    batch.tokens.insert(batch.tokens.end(), second.begin(), second.end());
    batch.tokens.push_back(vocabulary_.separator());
    const std::size_t used = batch.tokens.size() - start;
    batch.tokens.resize(start + length, vocabulary_.padding());
    batch.segments.resize(start + length, 0);
    std::fill_n(batch.segments.begin() + static_cast<std::ptrdiff_t>(start + first.size() + 2),
                second.size() + 1, 1);
    batch.masked_labels.resize(start + length, kIgnoredLabel);
    batch.lengths.push_back(static_cast<std::int64_t>(used));
    batch.sentence_order.push_back(swapped ? 1 : 0);

    std::vector<std::size_t> ordinary(passage.tokens.size());
    std::iota(ordinary.begin(), ordinary.begin() + static_cast<std::ptrdiff_t>(first.size()), std::size_t{1});
    std::iota(ordinary.begin() + static_cast<std::ptrdiff_t>(first.size()), ordinary.end(), first.size() + 2);
    mask_tokens(std::span(batch.tokens).subspan(start, length),
                std::span(batch.masked_labels).subspan(start, length), ordinary, masked_, vocabulary_,
                random);
}

}  // namespace shoal::data
