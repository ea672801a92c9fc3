#include "shoal/compress/codec.h"

#include <string>

#include "shoal/base/error.h"
#include "shoal/compress/exact_floating_point.h"

namespace shoal::compress {

namespace {

void check_decode_size(const Codec& codec, std::size_t bytes, std::size_t count) {
    if (bytes == codec.encoded_size(count)) return;
    throw Error(ErrorKind::protocol_violation, std::string(codec.name()) + ": " + std::to_string(count) +
                                                   " values take " +
                                                   std::to_string(codec.encoded_size(count)) +
                                                   " bytes, but " + std::to_string(bytes) + " came");
}

}  // namespace

Guarantee Codec::guarantee(std::size_t count) const {
    const auto bytes = static_cast<double>(encoded_size(count));
    if (count == 0) return {.variance_factor = 1, .contraction = 1};
    Guarantee result = do_guarantee(count);
    result.density = bytes / (4 * static_cast<double>(count));
    return result;
}

void Codec::encode(std::span<const float> values, MutableByteView encoded, std::uint64_t seed) const {
    const std::size_t size = encoded_size(values.size());
    if (encoded.size() != size) {
        throw Error(ErrorKind::invalid_argument, std::string(name()) + ": the output for " +
                                                     std::to_string(values.size()) + " values must have " +
                                                     std::to_string(size) + " bytes, not " +
                                                     std::to_string(encoded.size()));
    }
    if (values.empty()) return;
    const ExactFloatingPoint exact;
    do_encode(values, encoded.data(), seed);
}

Bytes Codec::encode(std::span<const float> values, std::uint64_t seed) const {
    Bytes encoded(encoded_size(values.size()));
    encode(values, encoded, seed);
    return encoded;
}

void Codec::decode(ByteView encoded, std::span<float> values) const {
    check_decode_size(*this, encoded.size(), values.size());
    if (values.empty()) return;
    const ExactFloatingPoint exact;
    do_decode(encoded.data(), values);
}

void Codec::decode_scaled_add(ByteView encoded, float scale, std::span<float> sum) const {
    check_decode_size(*this, encoded.size(), sum.size());
    if (sum.empty()) return;
    const ExactFloatingPoint exact;
    do_decode_scaled_add(encoded.data(), scale, sum);
}

}  // namespace shoal::compress
