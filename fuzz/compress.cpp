// Encoded vectors from strangers: the first byte chooses the codec, the next two the number of values
// expected.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdlib>
#include <vector>

#include "shoal/base/error.h"
#include "shoal/compress/codec.h"

namespace {

void require(bool condition) {
    if (!condition) std::abort();
}

void decode(const shoal::compress::Codec& codec, shoal::ByteView encoded, std::size_t count) {
    std::vector<float> values(count), sum(count);
    try {
        codec.decode(encoded, values);
    } catch (const shoal::Error& error) {
        require(error.kind() == shoal::ErrorKind::protocol_violation);
        return;
    }
    require(encoded.size() == codec.encoded_size(count));
    codec.decode_scaled_add(encoded, 1, sum);
    for (std::size_t i = 0; i < count; ++i) {
        const bool both_bad = !std::isfinite(values[i]) && !std::isfinite(sum[i]);
        require(both_bad || values[i] == sum[i]);
    }
    // What was decoded can be sent on, by a peer that holds it for true.
    codec.decode(codec.encode(values), sum);
    const auto is_nan = [](float value) { return std::isnan(value); };
    if (codec.sent_values(count) == count) {
        for (std::size_t i = 0; i < count; ++i) require(!is_nan(values[i]) || is_nan(sum[i]));
    } else if (std::any_of(values.begin(), values.end(), is_nan) && !codec.name().starts_with("perm_k")) {
        // (A device of perm_k may have nothing but blanks.)
        require(std::any_of(sum.begin(), sum.end(), is_nan));
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size < 3) return 0;
    const auto names = shoal::compress::codec_examples();
    const auto codec = shoal::compress::make_codec(names[data[0] % names.size()]);
    const shoal::ByteView encoded(data + 3, size - 3);
    decode(*codec, encoded, data[1] + 256U * (data[2] % 32));
    // Most inputs have the wrong size: take also as many values as fit.
    std::size_t fitting = encoded.size();
    while (fitting > 0 && codec->encoded_size(fitting) > encoded.size()) --fitting;
    decode(*codec, encoded.first(codec->encoded_size(fitting)), fitting);
    return 0;
}
