#include "shoal/compress/index_set.h"

#include <bit>
#include <cstring>

namespace shoal::compress {

namespace {

std::size_t bytes_of(std::size_t bits) {
    return (bits + 7) / 8;
}

/// Up to eight bytes, the rest zeros.
std::uint64_t read_word(const std::uint8_t* bytes, std::size_t count) {
    std::uint64_t word = 0;
    std::memcpy(&word, bytes, count < sizeof(word) ? count : sizeof(word));
    return word;
}

/// `width` <= 32 bits from bit `at` on; reads no byte behind the `size`.
std::uint32_t read_bits(const std::uint8_t* bytes, std::size_t size, std::size_t at, int width) {
    const std::uint64_t word = read_word(bytes + at / 8, size - at / 8) >> at % 8;
    return static_cast<std::uint32_t>(word & ((std::uint64_t{1} << width) - 1));
}

}  // namespace

IndexLayout::IndexLayout(std::size_t n, std::size_t k) : positions(n), count(k), bitmap(true) {
    if (k == n) return;
    low_bits = std::bit_width(n / k) - 1;
    low_bytes = bytes_of(k * static_cast<std::size_t>(low_bits));
    high_bits = k + ((n - 1) >> low_bits);
    high_bytes = bytes_of(high_bits);
    bitmap = bytes_of(n) <= bytes();
    if (!bitmap) return;
    low_bits = 0;
    low_bytes = 0;
    high_bits = n;
    high_bytes = bytes_of(n);
}

IndexWriter::IndexWriter(const IndexLayout& layout, std::uint8_t* encoded)
    : layout_(layout), low_(encoded), high_(encoded + layout.low_bytes) {
    if (layout.bytes() > 0) std::memset(encoded, 0, layout.bytes());
}

void IndexWriter::add(std::span<const std::uint32_t> positions) {
    if (layout_.bytes() == 0) return;
    const auto width = static_cast<std::size_t>(layout_.low_bits);
    for (const std::uint32_t position : positions) {
        std::size_t bit = position;
        if (!layout_.bitmap) {
            bit = (position >> width) + written_;
            std::size_t at = written_ * width;
            std::uint64_t low = (position & ((std::uint64_t{1} << width) - 1)) << at % 8;
            for (at /= 8; low != 0; ++at, low >>= 8) low_[at] |= static_cast<std::uint8_t>(low);
        }
        high_[bit / 8] |= static_cast<std::uint8_t>(1U << bit % 8);
        ++written_;
    }
}

bool read_indices(const IndexLayout& layout, const std::uint8_t* encoded, std::uint32_t* positions) {
    if (layout.bytes() == 0) {
        for (std::size_t i = 0; i < layout.count; ++i) positions[i] = static_cast<std::uint32_t>(i);
        return true;
    }
    const std::uint8_t* high = encoded + layout.low_bytes;
    const auto width = static_cast<std::size_t>(layout.low_bits);
    std::size_t read = 0;
    for (std::size_t byte = 0; byte < layout.high_bytes; byte += 8) {
        std::uint64_t word = read_word(high + byte, layout.high_bytes - byte);
        for (; word != 0; word &= word - 1) {
            const std::size_t bit = 8 * byte + static_cast<std::size_t>(std::countr_zero(word));
            if (bit >= layout.high_bits || read == layout.count) return false;
            std::size_t position = bit;
            if (!layout.bitmap) {
                const std::uint32_t low =
                    width == 0 ? 0 : read_bits(encoded, layout.low_bytes, read * width, layout.low_bits);
                position = (bit - read) << width | low;
                const bool ascends = read == 0 || position > positions[read - 1];
                if (position >= layout.positions || !ascends) return false;
            }
            positions[read++] = static_cast<std::uint32_t>(position);
        }
    }
    // What fills the last byte of the first part is zero.
    const std::size_t used = layout.count * width % 8;
    const bool clean = used == 0 || encoded[layout.low_bytes - 1] >> used == 0;
    return read == layout.count && clean;
}

}  // namespace shoal::compress
