// Bytes on the move: owned buffers and views of them.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace shoal {

using Bytes = std::vector<std::uint8_t>;
using ByteView = std::span<const std::uint8_t>;
using MutableByteView = std::span<std::uint8_t>;

/// The bytes of a text, without a copy. Valid as long as the text is.
inline ByteView as_bytes(std::string_view text) {
    return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}

/// The bytes of an array of plain numbers, in the machine's order (Shoal runs on little-endian machines
/// only).
template <typename Number>
ByteView as_bytes(std::span<const Number> numbers) {
    static_assert(std::is_trivially_copyable_v<Number>);
    return {reinterpret_cast<const std::uint8_t*>(numbers.data()), numbers.size_bytes()};
}

inline std::string_view as_text(ByteView bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

inline Bytes to_bytes(std::string_view text) {
    return {text.begin(), text.end()};
}

/// Lower-case hexadecimal, two digits a byte.
std::string to_hex(ByteView bytes);

/// The reverse of to_hex. Throws Error(invalid_argument) on an odd length or a character that is no
/// hexadecimal digit.
Bytes from_hex(std::string_view hex);

}  // namespace shoal
