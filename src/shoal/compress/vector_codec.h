// How a whole vector travels: the tensors that lie in it one behind the other, large ones in one codec, small
// ones in another (biases and normalisations are few numbers, and suffer most from eight bits).
//
// The vector is a row of pieces that alternate between the two codecs: neighbours of the same kind are one
// piece. Whoever knows the two codecs and the lengths of the pieces knows the encoded size of any part, so
// neither sizes nor codecs travel with it. Parts begin and end at cuts: a place in a piece that is a multiple
// of its codec's granularity away from its beginning. Then a value does not depend on how the vector is cut.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "shoal/base/error.h"
#include "shoal/compress/codec.h"

namespace shoal::compress {

/// Lengths of the pieces of a vector, the first of small tensors (0 if it begins with a large one), the next
/// of large ones, and so on. Empty where one codec serves all.
using Pieces = std::vector<std::uint32_t>;

/// More pieces than this cannot be agreed on: they travel with every member's offer.
inline constexpr std::size_t kMaximumPieces = 512;

/// True if the pieces cover exactly that many elements, in as few pieces as there can be.
bool pieces_cover(std::span<const std::uint32_t> pieces, std::size_t elements);

/// The choice of codecs, without a vector. Immutable; copies share their codecs.
class VectorFormat {
  public:
    /// Tensors of fewer than `small_below` elements travel in `small_codec`, others in `codec`. An empty
    /// small_codec, the same one, or a bound of 0 or 1: all in `codec`. Throws Error(invalid_argument) on an
    /// unknown name, or on a codec whose vectors cannot be cut.
    explicit VectorFormat(std::string_view codec, std::string_view small_codec = {},
                          std::size_t small_below = 0);

    /// Equal for equal choices: "blockwise8", or "blockwise8, fp16 below 65536".
    const std::string& name() const { return name_; }
    bool is_mixed() const { return small_ != nullptr; }

    /// The pieces of a vector of these tensors (empty: it is one). Throws Error(invalid_argument) if they do
    /// not add up to `elements`, or make more than kMaximumPieces.
    /// @param small_tail  the tensors that lie in the last so many elements count as small, whatever their
    /// size
    Pieces pieces(std::span<const std::size_t> tensors, std::size_t elements,
                  std::size_t small_tail = 0) const;
    /// True if these can be the pieces of a vector of that length, whoever says so.
    bool fits(std::span<const std::uint32_t> pieces, std::size_t elements) const;

    /// Two cuts lie nowhere further apart than this.
    std::size_t granularity() const;
    /// No part of a vector takes more bytes if it is `count` elements long, moved to cuts at both ends.
    std::size_t maximum_encoded_size(std::size_t count) const;

  private:
    friend class VectorCodec;
    std::string name_;
    std::size_t small_below_ = 0;
    std::shared_ptr<const Codec> large_, small_;  // small_ is null where one serves all
};

/// A vector of known length and pieces. Immutable, so one object serves any number of threads at once.
class VectorCodec {
  public:
    /// Throws Error(invalid_argument) unless format.fits(pieces, elements).
    VectorCodec(VectorFormat format, std::span<const std::uint32_t> pieces, std::size_t elements);

    std::size_t elements() const { return starts_.back(); }
    /// True if encoded bytes are the floats themselves.
    bool is_exact() const { return exact_; }

    /// The last cut that is not behind `place`; the end of the vector if that is behind it.
    std::size_t cut_before(std::size_t place) const;

    /// Exact number of bytes of the elements [begin, begin + count), which must lie in the vector.
    std::size_t encoded_size(std::size_t begin, std::size_t count) const;

    // As the functions of Codec (what they throw, too), for the part that begins at element `begin`, which is
    // a cut.
    void encode(std::size_t begin, std::span<const float> values, MutableByteView encoded) const;
    void decode(std::size_t begin, ByteView encoded, std::span<float> values) const;
    void decode_scaled_add(std::size_t begin, ByteView encoded, float scale, std::span<float> sum) const;

  private:
    /// The piece that the element lies in.
    std::size_t piece_of(std::size_t element) const;
    const Codec& codec_of(std::size_t piece) const { return piece % 2 == 0 ? *small_ : *format_.large_; }
    template <typename Function>
    void for_each_piece(std::size_t begin, std::size_t count, Function f) const;
    void check_size(std::size_t begin, std::size_t count, std::size_t bytes, ErrorKind kind) const;

    VectorFormat format_;
    const Codec* small_;               // where there are small pieces; else the large one
    std::vector<std::size_t> starts_;  // of the pieces, small ones at even places; then the vector's end
    bool exact_;
};

}  // namespace shoal::compress
