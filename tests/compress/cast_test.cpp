// fp32, fp16 and bf16 against plain definitions of the formats.
#include "compress/float_inputs.h"

#include <cstring>
#include <gtest/gtest.h>

#include "shoal/compress/codec.h"

namespace shoal::compress {
namespace {

using namespace shoal::test;

/// A 16-bit format by the sizes of its fields.
struct Format {
    int mantissa_bits;
    int lowest_exponent;  ///< of normal numbers
    std::uint16_t infinity;
    double largest;
};
constexpr Format kFp16 = {10, -14, 0x7C00, 65504};
constexpr Format kBf16 = {7, -126, 0x7F80, 0x1.fep127};

double value_of(const Format& format, std::uint16_t bits) {
    const int exponent_field = (bits & 0x7FFF) >> format.mantissa_bits;
    const int mantissa = bits & ((1 << format.mantissa_bits) - 1);
    const double sign = bits & 0x8000 ? -1 : 1;
    if (exponent_field == 0)
        return sign * std::ldexp(mantissa, format.lowest_exponent - format.mantissa_bits);
    return sign * std::ldexp(mantissa + (1 << format.mantissa_bits),
                             exponent_field - 1 + format.lowest_exponent - format.mantissa_bits);
}

/// Nearest, ties to even, by the definition: the step between neighbours is known from the exponent.
double rounded(const Format& format, float value) {
    if (value == 0) return value;
    const int exponent = std::max(std::ilogb(value), format.lowest_exponent);
    const double step = std::ldexp(1.0, exponent - format.mantissa_bits);
    const double nearest = std::nearbyint(value / step) * step;
    return std::copysign(std::min(std::abs(nearest), format.largest), value);
}

std::vector<std::uint16_t> encode16(const Codec& codec, const std::vector<float>& values) {
    const Bytes encoded = codec.encode(values);
    std::vector<std::uint16_t> words(values.size());
    std::memcpy(words.data(), encoded.data(), encoded.size());
    return words;
}

std::vector<float> all_words_decoded(const Codec& codec) {
    std::vector<std::uint16_t> words(65536);
    for (std::size_t i = 0; i < words.size(); ++i) words[i] = static_cast<std::uint16_t>(i);
    std::vector<float> values(words.size());
    codec.decode(as_bytes(std::span<const std::uint16_t>(words)), values);
    return values;
}

class SixteenBits : public testing::TestWithParam<std::pair<const char*, Format>> {
  protected:
    std::unique_ptr<const Codec> codec_ = make_codec(GetParam().first);
    Format format_ = GetParam().second;
};

INSTANTIATE_TEST_SUITE_P(Formats, SixteenBits,
                         testing::Values(std::pair("fp16", kFp16), std::pair("bf16", kBf16)),
                         [](const auto& codec) { return std::string(codec.param.first); });

TEST_P(SixteenBits, every_word_decodes_to_what_it_means) {
    const std::vector<float> values = all_words_decoded(*codec_);
    for (std::uint32_t word = 0; word < 65536; ++word) {
        const auto bits = static_cast<std::uint16_t>(word);
        const std::uint16_t magnitude = bits & 0x7FFF;
        if (magnitude > format_.infinity) {
            EXPECT_TRUE(std::isnan(values[word])) << word;
        } else if (magnitude == format_.infinity) {
            EXPECT_TRUE(std::isinf(values[word])) << word;
            EXPECT_EQ(std::signbit(values[word]), (bits & 0x8000) != 0);
        } else {
            EXPECT_EQ(values[word], value_of(format_, bits)) << word;
            EXPECT_EQ(std::signbit(values[word]), (bits & 0x8000) != 0);
        }
    }
}

TEST_P(SixteenBits, every_finite_word_survives_a_round_trip) {
    const std::vector<float> values = all_words_decoded(*codec_);
    const std::vector<std::uint16_t> words = encode16(*codec_, values);
    for (std::uint32_t word = 0; word < 65536; ++word) {
        if ((word & 0x7FFF) <= format_.infinity) {
            EXPECT_EQ(words[word], word);
        }
    }
}

TEST_P(SixteenBits, rounds_to_the_nearest_and_ties_to_even) {
    Random random(7);
    std::vector<float> values = finite_floats(200000, random);
    // Exact ties and their neighbours, for each word.
    const std::vector<float> exact = all_words_decoded(*codec_);
    for (std::uint32_t word = 0; word + 1 < format_.infinity; ++word) {
        const float middle = static_cast<float>((static_cast<double>(exact[word]) + exact[word + 1]) / 2);
        values.insert(values.end(),
                      {middle, std::nextafter(middle, 0.0F), std::nextafter(middle, INFINITY), -middle});
    }
    const std::vector<std::uint16_t> words = encode16(*codec_, values);
    for (std::size_t i = 0; i < values.size(); ++i) {
        ASSERT_EQ(value_of(format_, words[i]), rounded(format_, values[i])) << values[i];
        ASSERT_EQ((words[i] & 0x8000) != 0, std::signbit(values[i]));
    }
}

TEST_P(SixteenBits, what_is_too_large_becomes_the_largest_and_infinity_stays) {
    const float largest = static_cast<float>(format_.largest);
    const float beyond = std::nextafter(largest, INFINITY);
    const float most = std::numeric_limits<float>::max();
    const auto top = static_cast<std::uint16_t>(format_.infinity - 1);
    const auto words = encode16(*codec_, {largest, beyond, most, -beyond, -most, INFINITY, -INFINITY});
    const std::vector<std::uint16_t> expected = {top,
                                                 top,
                                                 top,
                                                 static_cast<std::uint16_t>(top | 0x8000),
                                                 static_cast<std::uint16_t>(top | 0x8000),
                                                 format_.infinity,
                                                 static_cast<std::uint16_t>(format_.infinity | 0x8000)};
    EXPECT_EQ(words, expected);
}

TEST(Fp32, keeps_every_bit) {
    Random random(8);
    std::vector<float> values = any_floats(10001, random);
    std::vector<float> decoded(values.size());
    const auto codec = make_codec("fp32");
    codec->decode(codec->encode(values), decoded);
    EXPECT_TRUE(same_bits(values, decoded));
}

}  // namespace
}  // namespace shoal::compress
