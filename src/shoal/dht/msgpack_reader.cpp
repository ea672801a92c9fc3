#include "shoal/dht/msgpack_reader.h"

namespace shoal::dht {

using Token = MsgpackReader::Token;

std::optional<std::uint64_t> MsgpackReader::take_number(std::size_t bytes) {
    if (rest_.size() < bytes) return std::nullopt;
    std::uint64_t number = 0;
    for (std::size_t i = 0; i < bytes; ++i) number = number << 8 | rest_[i];
    rest_ = rest_.subspan(bytes);
    return number;
}

std::optional<Token> MsgpackReader::take_bytes(Kind kind, std::optional<std::uint64_t> length) {
    if (!length || *length > rest_.size()) return std::nullopt;
    const Token token{kind, *length, rest_.first(*length)};
    rest_ = rest_.subspan(*length);
    return token;
}

/// Every element takes at least one byte, so there cannot be more of them than bytes.
std::optional<Token> MsgpackReader::take_elements(Kind kind, std::optional<std::uint64_t> count) const {
    const std::size_t room = kind == Kind::map ? rest_.size() / 2 : rest_.size();
    if (!count || *count > room) return std::nullopt;
    return Token{kind, *count, {}};
}

std::optional<Token> MsgpackReader::next() {
    const auto head = take_number(1);
    if (!head) return std::nullopt;
    const auto byte = static_cast<std::uint8_t>(*head);
    if (byte <= 0x7f) return Token{Kind::number, byte, {}};
    if (byte <= 0x8f) return take_elements(Kind::map, byte & 0x0f);
    if (byte <= 0x9f) return take_elements(Kind::array, byte & 0x0f);
    if (byte <= 0xbf) return take_bytes(Kind::text, byte & 0x1f);
    if (byte >= 0xe0) return Token{Kind::negative, byte, {}};
    return long_form(byte);
}

std::optional<Token> MsgpackReader::long_form(std::uint8_t head) {
    const auto number_as = [](Kind kind, std::optional<std::uint64_t> number) {
        return number ? std::optional(Token{kind, *number, {}}) : std::nullopt;
    };
    const auto power = [head](std::uint8_t first) { return std::size_t{1} << (head - first); };
    switch (head) {
        case 0xc0:
            return Token{Kind::nothing, 0, {}};
        case 0xc2:
        case 0xc3:
            return Token{Kind::boolean, head & 1u, {}};
        case 0xc4:
        case 0xc5:
        case 0xc6:
            return take_bytes(Kind::binary, take_number(power(0xc4)));
        case 0xcc:
        case 0xcd:
        case 0xce:
        case 0xcf:
            return number_as(Kind::number, take_number(power(0xcc)));
        case 0xd0:
        case 0xd1:
        case 0xd2:
        case 0xd3:
            // Not looked into: nothing that OpenDHT sends is negative, and whoever wants a number refuses it.
            return number_as(Kind::negative, take_number(power(0xd0)));
        case 0xd9:
        case 0xda:
        case 0xdb:
            return take_bytes(Kind::text, take_number(power(0xd9)));
        case 0xdc:
        case 0xdd:
            return take_elements(Kind::array, take_number(head == 0xdc ? 2 : 4));
        case 0xde:
        case 0xdf:
            return take_elements(Kind::map, take_number(head == 0xde ? 2 : 4));
        default:
            return std::nullopt;
    }
}

bool MsgpackReader::skip(const Token& token, int depth) {
    if (token.kind != Kind::array && token.kind != Kind::map) return true;
    const std::uint64_t elements = token.kind == Kind::map ? 2 * token.number : token.number;
    for (std::uint64_t i = 0; i < elements; ++i)
        if (!skip_object(depth + 1)) return false;
    return true;
}

bool MsgpackReader::skip_object(int depth) {
    if (depth > kMaximumDepth) return false;
    const auto token = next();
    return token && skip(*token, depth);
}

}  // namespace shoal::dht
