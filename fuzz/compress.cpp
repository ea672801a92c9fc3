// Encoded vectors from strangers: the first byte chooses the codec, the next two the number of values
// expected. And names of codecs, from users.
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
    // What was decoded can be sent on, by a peer that holds it for true. No NaN hides, in its place or, where
    // not all values travel, anywhere.
    const auto is_nan = [](float value) { return std::isnan(value); };
    codec.decode(codec.encode(values, count), sum);
    if (codec.sent_values(count) < count) {
        require(std::none_of(values.begin(), values.end(), is_nan) ||
                std::any_of(sum.begin(), sum.end(), is_nan));
        return;
    }
    for (std::size_t i = 0; i < count; ++i) require(!std::isnan(values[i]) || std::isnan(sum[i]));
}

/// Of any text comes a codec of that name, or the one error.
void make(std::string_view name) {
    try {
        require(shoal::compress::make_codec(name)->name() == name);
    } catch (const shoal::Error& error) {
        require(error.kind() == shoal::ErrorKind::invalid_argument);
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size < 3) return 0;
    const auto names = shoal::compress::codec_examples();
    make(shoal::as_text({data, size}));
    const auto codec = shoal::compress::make_codec(names[data[0] % names.size()]);
    const shoal::ByteView encoded(data + 3, size - 3);
    decode(*codec, encoded, data[1] + 256U * (data[2] % 32));
    // Most inputs have the wrong size: take also as many values as fit.
    std::size_t fitting = encoded.size();
    while (fitting > 0 && codec->encoded_size(fitting) > encoded.size()) --fitting;
    decode(*codec, encoded.first(codec->encoded_size(fitting)), fitting);
    return 0;
}
