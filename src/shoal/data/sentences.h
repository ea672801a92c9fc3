// Where sentences end, by rule: good enough for packing text into samples, for any language that ends
// sentences with . ! ? or their full-width forms.
#pragma once

#include <cstddef>
#include <string_view>

namespace shoal::data {

/// A sentence is cut after this many bytes at the latest (at a space if there is one), so that a file without
/// punctuation is no problem.
constexpr std::size_t kLongestSentence = 2048;

/// Index just past the sentence that `from` (<= size) lies in, with the white space behind it: where the next
/// sentence starts, or the size of the text. A line end always ends a sentence. Never cuts a UTF-8 sequence.
/// The result is above `from` unless `from` is the size.
std::size_t sentence_end(std::string_view text, std::size_t from);

/// The text without white space at both ends.
std::string_view trimmed(std::string_view text);

}  // namespace shoal::data
