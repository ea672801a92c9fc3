#include "shoal/base/bytes.h"

#include "shoal/base/error.h"

namespace shoal {
namespace {

int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

}  // namespace

std::string to_hex(ByteView bytes) {
    constexpr std::string_view kDigits = "0123456789abcdef";
    std::string text;
    text.reserve(2 * bytes.size());
    for (const std::uint8_t byte : bytes) {
        text.push_back(kDigits[byte >> 4]);
        text.push_back(kDigits[byte & 15]);
    }
    return text;
}

Bytes from_hex(std::string_view hex) {
    if (hex.size() % 2 != 0) {
        throw Error(
            ErrorKind::invalid_argument,
            "a hexadecimal text needs an even number of digits, this one has " + std::to_string(hex.size()));
    }
    Bytes bytes;
    bytes.reserve(hex.size() / 2);
    for (std::size_t i = 0; i < hex.size(); i += 2) {
        const int high = hex_digit(hex[i]);
        const int low = hex_digit(hex[i + 1]);
        if (high < 0 || low < 0) {
            const std::size_t place = high < 0 ? i : i + 1;
            throw Error(ErrorKind::invalid_argument, "character " + std::to_string(place + 1) +
                                                         " of a hexadecimal text is none of 0-9, a-f");
        }
        bytes.push_back(static_cast<std::uint8_t>(high << 4 | low));
    }
    return bytes;
}

}  // namespace shoal
