#include "shoal/data/sentences.h"

#include <algorithm>
#include <array>

namespace shoal::data {
namespace {

bool is_space(char c) {
    return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' || c == '\v';
}
bool is_continuation(char c) {
    return (static_cast<unsigned char>(c) & 0xC0U) == 0x80U;
}

/// What may stand between the full stop and the white space: quotes and brackets that close.
std::size_t skip_closers(std::string_view text, std::size_t at) {
    constexpr std::array<std::string_view, 7> closers = {"\"",           "'",       ")", "]", "\xE2\x80\x99",
                                                         "\xE2\x80\x9D", "\xC2\xBB"};
    while (true) {
        const auto rest = text.substr(at, 3);
        const auto found =
            std::ranges::find_if(closers, [&](std::string_view c) { return rest.starts_with(c); });
        if (found == closers.end()) return at;
        at += found->size();
    }
}

/// A sentence starts with anything but a lower-case letter or punctuation: "e.g. this" and "3.5 mm" go on.
bool can_start_sentence(char c) {
    return (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '"' || c == '\'' || c == '(' ||
           c == '[' || static_cast<unsigned char>(c) >= 0x80;
}

bool full_width_stop(std::string_view rest) {
    return rest.starts_with("\xE3\x80\x82") || rest.starts_with("\xEF\xBC\x81") ||
           rest.starts_with("\xEF\xBC\x9F");
}

std::size_t skip_space(std::string_view text, std::size_t at) {
    while (at < text.size() && is_space(text[at])) ++at;
    return at;
}

/// Cuts a sentence that is too long: at its last space, or else between two characters.
std::size_t cut(std::string_view text, std::size_t from, std::size_t limit) {
    const std::size_t space = text.rfind(' ', limit - 1);
    if (space != std::string_view::npos && space > from) return space + 1;
    std::size_t at = limit;
    while (at > limit - 4 && at > from + 1 && is_continuation(text[at])) --at;
    return at;
}

}  // namespace

std::size_t sentence_end(std::string_view text, std::size_t from) {
    const std::size_t limit = std::min(text.size(), from + kLongestSentence);
    for (std::size_t i = from; i < limit; ++i) {
        const char c = text[i];
        if (c == '\n') return skip_space(text, i);
        if (c == '.' || c == '!' || c == '?') {
            const std::size_t after = skip_closers(text, i + 1);
            const std::size_t start = skip_space(text, after);
            if (start == text.size() || (start > after && can_start_sentence(text[start]))) return start;
        } else if (static_cast<unsigned char>(c) >= 0xE3 && full_width_stop(text.substr(i, 3))) {
            return skip_space(text, skip_closers(text, i + 3));
        }
    }
    return limit == text.size() ? limit : cut(text, from, limit);
}

std::string_view trimmed(std::string_view text) {
    while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
    while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
    return text;
}

}  // namespace shoal::data
