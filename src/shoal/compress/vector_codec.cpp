#include "shoal/compress/vector_codec.h"

#include <algorithm>
#include <numeric>

#include "shoal/base/error.h"

namespace shoal::compress {

bool pieces_cover(std::span<const std::uint32_t> pieces, std::size_t elements) {
    if (pieces.empty() || pieces.size() > kMaximumPieces) return false;
    // Only the first may be empty.
    if (std::find(pieces.begin() + 1, pieces.end(), 0U) != pieces.end()) return false;
    return std::accumulate(pieces.begin(), pieces.end(), std::size_t{0}) == elements;
}

namespace {

std::shared_ptr<const Codec> make_cuttable(std::string_view name) {
    std::shared_ptr<const Codec> codec = make_codec(name);
    if (codec->granularity() == kUncuttable)
        throw Error(ErrorKind::invalid_argument, "codec '" + std::string(name) +
                                                     "' looks at a whole vector; here it must be one whose "
                                                     "vectors can be cut");
    return codec;
}

}  // namespace

VectorFormat::VectorFormat(std::string_view codec, std::string_view small_codec, std::size_t small_below)
    : name_(codec), large_(make_cuttable(codec)) {
    if (small_codec.empty()) return;
    std::shared_ptr<const Codec> small = make_cuttable(small_codec);
    if (small_codec == codec || small_below <= 1) return;
    small_ = std::move(small);
    small_below_ = small_below;
    name_ += ", " + std::string(small_codec) + " below " + std::to_string(small_below);
}

Pieces VectorFormat::pieces(std::span<const std::size_t> tensors, std::size_t elements,
                            std::size_t small_tail) const {
    const std::size_t whole[] = {elements};
    if (tensors.empty()) tensors = whole;
    if (std::accumulate(tensors.begin(), tensors.end(), std::size_t{0}) != elements)
        throw Error(ErrorKind::invalid_argument,
                    "the tensors of a vector do not add up to its " + std::to_string(elements) + " elements");
    if (!is_mixed()) return {};
    Pieces pieces = {0};
    std::size_t begin = 0;
    for (const std::size_t tensor : tensors) {
        if (tensor == 0) continue;
        const bool small = tensor < small_below_ || begin + small_tail >= elements;
        begin += tensor;
        if (small != (pieces.size() % 2 == 1)) pieces.push_back(0);
        pieces.back() += static_cast<std::uint32_t>(tensor);
    }
    if (pieces.size() > kMaximumPieces)
        throw Error(ErrorKind::invalid_argument,
                    "small and large tensors alternate " + std::to_string(pieces.size()) +
                        " times in this model, but at most " + std::to_string(kMaximumPieces) +
                        " pieces can be agreed on; choose another bound for small tensors, or one codec");
    return pieces;
}

bool VectorFormat::fits(std::span<const std::uint32_t> pieces, std::size_t elements) const {
    return is_mixed() ? pieces_cover(pieces, elements) : pieces.empty();
}

std::size_t VectorFormat::granularity() const {
    return is_mixed() ? std::max(large_->granularity(), small_->granularity()) : large_->granularity();
}

std::size_t VectorFormat::maximum_encoded_size(std::size_t count) const {
    if (!is_mixed()) return large_->encoded_size(count);
    // Moving its beginning to a cut makes a part longer by less than the granularity; and many values take no
    // more than each alone.
    return (count + granularity()) * std::max(large_->encoded_size(1), small_->encoded_size(1));
}

VectorCodec::VectorCodec(VectorFormat format, std::span<const std::uint32_t> pieces, std::size_t elements)
    : format_(std::move(format)),
      small_(format_.is_mixed() ? format_.small_.get() : format_.large_.get()),
      exact_(!format_.is_mixed() && format_.large_->name() == "fp32") {
    if (!format_.fits(pieces, elements))
        throw Error(ErrorKind::invalid_argument, format_.name() +
                                                     ": these cannot be the pieces of a vector of " +
                                                     std::to_string(elements) + " elements");
    starts_ = {0};
    if (!format_.is_mixed()) starts_ = {0, 0, elements};
    for (const std::uint32_t piece : pieces) starts_.push_back(starts_.back() + piece);
}

std::size_t VectorCodec::piece_of(std::size_t element) const {
    const auto behind = std::upper_bound(starts_.begin(), starts_.end(), element);
    return static_cast<std::size_t>(behind - starts_.begin()) - 1;
}

std::size_t VectorCodec::cut_before(std::size_t place) const {
    if (place >= elements()) return elements();
    const std::size_t piece = piece_of(place), granularity = codec_of(piece).granularity();
    return starts_[piece] + (place - starts_[piece]) / granularity * granularity;
}

/// f(codec, first element, behind the last element) for each piece that has a part in it, in order; both
/// counted from `begin`.
template <typename Function>
void VectorCodec::for_each_piece(std::size_t begin, std::size_t count, Function f) const {
    const std::size_t end = begin + count;
    for (std::size_t at = begin, piece = piece_of(begin); at < end; ++piece) {
        const std::size_t behind = std::min(end, starts_[piece + 1]);
        f(codec_of(piece), at - begin, behind - begin);
        at = behind;
    }
}

std::size_t VectorCodec::encoded_size(std::size_t begin, std::size_t count) const {
    std::size_t bytes = 0;
    for_each_piece(begin, count, [&](const Codec& codec, std::size_t from, std::size_t to) {
        bytes += codec.encoded_size(to - from);
    });
    return bytes;
}

void VectorCodec::check_size(std::size_t begin, std::size_t count, std::size_t bytes, ErrorKind kind) const {
    const std::size_t expected = encoded_size(begin, count);
    if (bytes == expected) return;
    throw Error(kind, format_.name() + ": " + std::to_string(count) + " values from " +
                          std::to_string(begin) + " on take " + std::to_string(expected) + " bytes, not " +
                          std::to_string(bytes));
}

void VectorCodec::encode(std::size_t begin, std::span<const float> values, MutableByteView encoded) const {
    check_size(begin, values.size(), encoded.size(), ErrorKind::invalid_argument);
    for_each_piece(begin, values.size(), [&](const Codec& codec, std::size_t from, std::size_t to) {
        const std::size_t bytes = codec.encoded_size(to - from);
        codec.encode(values.subspan(from, to - from), encoded.first(bytes));
        encoded = encoded.subspan(bytes);
    });
}

void VectorCodec::decode(std::size_t begin, ByteView encoded, std::span<float> values) const {
    check_size(begin, values.size(), encoded.size(), ErrorKind::protocol_violation);
    for_each_piece(begin, values.size(), [&](const Codec& codec, std::size_t from, std::size_t to) {
        const std::size_t bytes = codec.encoded_size(to - from);
        codec.decode(encoded.first(bytes), values.subspan(from, to - from));
        encoded = encoded.subspan(bytes);
    });
}

void VectorCodec::decode_scaled_add(std::size_t begin, ByteView encoded, float scale,
                                    std::span<float> sum) const {
    check_size(begin, sum.size(), encoded.size(), ErrorKind::protocol_violation);
    for_each_piece(begin, sum.size(), [&](const Codec& codec, std::size_t from, std::size_t to) {
        const std::size_t bytes = codec.encoded_size(to - from);
        codec.decode_scaled_add(encoded.first(bytes), scale, sum.subspan(from, to - from));
        encoded = encoded.subspan(bytes);
    });
}

}  // namespace shoal::compress
