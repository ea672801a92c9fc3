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
    if (count >= sizeof(word))
        std::memcpy(&word, bytes, sizeof(word));  // of a size known here: one instruction
    else
        std::memcpy(&word, bytes, count);
    return word;
}

/// Sets bits of an array word by word, in ascending order.
class BitSetter {
  public:
    BitSetter(std::uint8_t* bytes, std::size_t size) : bytes_(bytes), size_(size) {}
    ~BitSetter() { flush(); }
    BitSetter(const BitSetter&) = delete;
    BitSetter& operator=(const BitSetter&) = delete;

    /// The bits of `pattern`, fewer than 2^32, from bit `at` on; `at` is not smaller than the time before.
    void set(std::size_t at, std::uint64_t pattern) {
        if (at / 64 != index_) {
            flush();
            index_ = at / 64;
        }
        word_ |= pattern << at % 64;
        if (at % 64 <= 32 || pattern >> (64 - at % 64) == 0) return;
        flush();
        ++index_;
        word_ = pattern >> (64 - at % 64);
    }

  private:
    void flush() {
        if (word_ == 0) return;
        std::uint8_t* const place = bytes_ + index_ * sizeof(word_);
        const std::size_t left = size_ - index_ * sizeof(word_);
        word_ |= read_word(place, left);
        if (left >= sizeof(word_))
            std::memcpy(place, &word_, sizeof(word_));
        else
            std::memcpy(place, &word_, left);
        word_ = 0;
    }

    std::uint8_t* bytes_;
    std::size_t size_, index_ = 0;
    std::uint64_t word_ = 0;
};

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
    BitSetter high(high_, layout_.high_bytes);
    if (layout_.bitmap) {
        for (const std::uint32_t position : positions) high.set(position, 1);
    } else {
        BitSetter low(low_, layout_.low_bytes);
        const auto width = static_cast<std::size_t>(layout_.low_bits);
        const std::uint64_t mask = (std::uint64_t{1} << width) - 1;
        for (const std::uint32_t position : positions) {
            low.set(written_ * width, position & mask);
            high.set((position >> width) + written_, 1);
            ++written_;
        }
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
