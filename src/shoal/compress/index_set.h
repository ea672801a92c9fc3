// How a sorted set of positions travels: k of n, both known to the receiver.
//
// Either a bit for each of the n, or by Elias and Fano: of each position the lowest l = log2(n/k) bits
// (rounded down) as they are, and the rest in unary: a one for each position, with as many zeros before it as
// its upper part is large. That takes k l + k + (n - 1) / 2^l bits, within half a bit per position of the
// least that is possible, and the size depends on n and k alone. The smaller of the two is taken; nothing if
// k is n.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace shoal::compress {

/// Which of the two, and the sizes in it.
struct IndexLayout {
    /// 1 <= count <= positions < 2^32.
    IndexLayout(std::size_t positions, std::size_t count);

    std::size_t positions, count;
    bool bitmap;
    int low_bits = 0;            ///< of a position, in the first part
    std::size_t low_bytes = 0;   ///< of the first part
    std::size_t high_bits = 0;   ///< in the second part, or in the bitmap
    std::size_t high_bytes = 0;  ///< of the second part, or of the bitmap

    std::size_t bytes() const { return low_bytes + high_bytes; }
};

/// Writes positions as they come.
class IndexWriter {
  public:
    /// Clears the layout's bytes.
    IndexWriter(const IndexLayout& layout, std::uint8_t* encoded);

    /// Ascending, layout.count in all.
    void add(std::span<const std::uint32_t> positions);

  private:
    IndexLayout layout_;
    std::uint8_t* low_;
    std::uint8_t* high_;
    std::size_t written_ = 0;
};

/// Reads all positions into `positions`, which has room for layout.count. Returns false if the bytes are not
/// those of an IndexWriter; all that was written is below layout.positions even so.
bool read_indices(const IndexLayout& layout, const std::uint8_t* encoded, std::uint32_t* positions);

}  // namespace shoal::compress
