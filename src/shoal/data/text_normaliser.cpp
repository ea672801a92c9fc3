#include "shoal/data/text_normaliser.h"

#include <cstring>

#include "shoal/base/error.h"

namespace shoal::data {
namespace {

constexpr std::string_view kReplacementCharacter = "\xEF\xBF\xBD";

// The units of Darts-clone's double array (github.com/s-yata/darts-clone, include/darts.h, class
// DoubleArrayUnit).
bool has_leaf(std::uint32_t unit) {
    return ((unit >> 8) & 1U) == 1;
}
std::uint32_t value(std::uint32_t unit) {
    return unit & 0x7fffffffU;
}
std::uint32_t label(std::uint32_t unit) {
    return unit & 0x800000ffU;
}
std::uint32_t offset(std::uint32_t unit) {
    return (unit >> 10) << ((unit & (1U << 9)) >> 6);
}

[[noreturn]] void fail() {
    throw Error(ErrorKind::corrupted, "the normalisation table is damaged");
}

}  // namespace

std::size_t utf8_length(std::string_view text) {
    const auto byte = [&](std::size_t i) -> std::uint32_t {
        return i < text.size() ? static_cast<unsigned char>(text[i]) : 0;
    };
    const auto more = [&](std::size_t i) { return (byte(i) & 0xC0U) == 0x80U; };
    const std::uint32_t first = byte(0);
    if (first < 0x80) return 1;
    if (first >= 0xC2 && first < 0xE0) return more(1) ? 2 : 0;
    if (first >= 0xE0 && first < 0xF0) {
        if (!more(1) || !more(2)) return 0;
        const std::uint32_t code = (first & 0x0FU) << 12 | (byte(1) & 0x3FU) << 6 | (byte(2) & 0x3FU);
        return code >= 0x800 && (code < 0xD800 || code > 0xDFFF) ? 3 : 0;
    }
    if (first >= 0xF0 && first < 0xF5) {
        if (!more(1) || !more(2) || !more(3)) return 0;
        const std::uint32_t high = (first & 0x07U) << 6 | (byte(1) & 0x3FU);  // the upper 9 of 21 bits
        return high >= 0x10 && high < 0x110 ? 4 : 0;
    }
    return 0;
}

TextNormaliser::TextNormaliser(NormaliserOptions options) : options_(std::move(options)) {
    const std::string_view table = options_.table;
    if (table.empty()) return;
    std::uint32_t trie_bytes = 0;
    if (table.size() < sizeof trie_bytes) fail();
    std::memcpy(&trie_bytes, table.data(), sizeof trie_bytes);
    const std::string_view rest = table.substr(sizeof trie_bytes);
    if (trie_bytes == 0 || trie_bytes % sizeof(std::uint32_t) != 0 || trie_bytes >= rest.size() ||
        rest.back() != '\0')
        fail();
    trie_.resize(trie_bytes / sizeof(std::uint32_t));
    std::memcpy(trie_.data(), rest.data(), trie_bytes);
    replacements_ = rest.substr(trie_bytes);
}

/// The longest pattern of the table that the text starts with, or else one character.
TextNormaliser::Prefix TextNormaliser::normalise_prefix(std::string_view text) const {
    Prefix longest{{}, 0};
    if (!trie_.empty()) {
        std::uint32_t node = offset(trie_[0]);
        for (std::size_t i = 0; i < text.size(); ++i) {
            const auto byte = static_cast<unsigned char>(text[i]);
            node ^= byte;
            if (node >= trie_.size() || label(trie_[node]) != byte) break;
            const std::uint32_t unit = trie_[node];
            node ^= offset(unit);
            if (node >= trie_.size()) break;
            if (has_leaf(unit) && value(trie_[node]) < replacements_.size()) {
                longest = {replacements_.c_str() + value(trie_[node]), i + 1};  // up to its zero byte
            }
        }
    }
    if (longest.length > 0) return longest;
    const std::size_t length = utf8_length(text);
    return length == 0 ? Prefix{kReplacementCharacter, 1} : Prefix{text.substr(0, length), length};
}

std::string TextNormaliser::normalise(std::string_view text) const {
    const std::string_view space = options_.escape_whitespaces ? kSpaceSymbol : std::string_view(" ");
    const bool squeeze = options_.remove_extra_whitespaces;
    std::string result;
    result.reserve(text.size() + text.size() / 2);
    bool after_space = squeeze;  // so that leading spaces vanish
    bool started = false;
    while (!text.empty()) {
        const Prefix prefix = normalise_prefix(text);
        text.remove_prefix(prefix.length);
        std::string_view piece = prefix.replacement;
        while (after_space && piece.starts_with(' ')) piece.remove_prefix(1);
        if (piece.empty()) {
            after_space = after_space && squeeze;
            continue;
        }
        if (!started && options_.add_dummy_prefix) result += space;
        started = true;
        for (const char c : piece) {
            if (c == ' ') {
                result += space;
            } else {
                result += c;
            }
        }
        after_space = squeeze && piece.ends_with(' ');
    }
    while (squeeze && result.size() >= space.size() && result.ends_with(space))
        result.resize(result.size() - space.size());
    return result;
}

}  // namespace shoal::data
