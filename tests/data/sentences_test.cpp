#include "shoal/data/sentences.h"

#include <gtest/gtest.h>
#include <string>
#include <vector>

namespace shoal::data {
namespace {

std::vector<std::string> split(std::string_view text) {
    std::vector<std::string> sentences;
    for (std::size_t at = 0; at < text.size();) {
        const std::size_t end = sentence_end(text, at);
        if (end <= at) throw std::logic_error("no progress");
        sentences.emplace_back(trimmed(text.substr(at, end - at)));
        at = end;
    }
    return sentences;
}

using Sentences = std::vector<std::string>;

TEST(Sentences, EndAtFullStopsBeforeCapitals) {
    EXPECT_EQ(split("One two. Three? \"Four!\" (Five.) 6 is six."),
              (Sentences{"One two.", "Three?", "\"Four!\"", "(Five.)", "6 is six."}));
}

TEST(Sentences, GoOnAfterAbbreviationsAndNumbers) {
    EXPECT_EQ(split("See e.g. this file, version 3.5 or so. Done"),
              (Sentences{"See e.g. this file, version 3.5 or so.", "Done"}));
}

TEST(Sentences, EndWithTheLine) {
    EXPECT_EQ(split("A heading\n\nand text\n"), (Sentences{"A heading", "and text"}));
}

TEST(Sentences, EndAtFullWidthStops) {
    EXPECT_EQ(split("你好。再见！"), (Sentences{"你好。", "再见！"}));
}

TEST(Sentences, WithoutPunctuationAreCutAtASpace) {
    std::string text;
    while (text.size() < 3 * kLongestSentence) text += "word ";
    for (const std::string& sentence : split(text)) {
        EXPECT_LE(sentence.size(), kLongestSentence);
        EXPECT_TRUE(sentence.ends_with("word"));
    }
}

TEST(Sentences, AreNeverCutWithinACharacter) {
    std::string text = "x";
    while (text.size() < 3 * kLongestSentence) text += "\xE4\xBD\xA0";
    for (const std::string& sentence : split(text))
        EXPECT_NE(static_cast<unsigned char>(sentence.front()) & 0xC0U, 0x80U);
}

TEST(Sentences, OfBinaryRubbishStillEnd) {
    EXPECT_GE(split(std::string(10 * kLongestSentence, '\x80')).size(), 10U);
    EXPECT_GE(split(std::string(10 * kLongestSentence, '.')).size(), 1U);
}

}  // namespace
}  // namespace shoal::data
