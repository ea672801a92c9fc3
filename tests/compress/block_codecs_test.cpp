// The codecs uniform8, quantile8 and blockwise4 against their definitions, and their bounds.
#include "compress/float_inputs.h"

#include <algorithm>
#include <cstring>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include "shoal/base/error.h"
#include "shoal/compress/codec.h"
#include "shoal/compress/normal_map.h"

namespace shoal::compress {
namespace {

using namespace shoal::test;

std::vector<float> round_trip(const Codec& codec, const std::vector<float>& values) {
    std::vector<float> decoded(values.size());
    codec.decode(codec.encode(values), decoded);
    return decoded;
}

void set_word(Bytes& encoded, std::size_t index, std::uint32_t bits) {
    std::memcpy(encoded.data() + 4 * index, &bits, sizeof(bits));
}

std::uint32_t word(const Bytes& encoded, std::size_t index) {
    std::uint32_t bits;
    std::memcpy(&bits, encoded.data() + 4 * index, sizeof(bits));
    return bits;
}

void expect_refused(const Codec& codec, const Bytes& encoded, std::size_t count, const std::string& what) {
    std::vector<float> values(count);
    EXPECT_THROW(codec.decode(encoded, values), Error) << what;
    EXPECT_THROW(codec.decode_scaled_add(encoded, 1, values), Error) << what;
}

/// Distance of the float next to this one.
double rounding_at(double magnitude) {
    return std::max(std::ldexp(magnitude, -23), 0x1p-149);
}

/// Values around a centre, of all scales from denormal to the largest, or of both signs.
std::vector<float> any_block(std::size_t count, Random& random) {
    const double scale = std::ldexp(1 + random.uniform(), static_cast<int>(random.below(276)) - 150);
    const double centre = random.below(2) == 0 ? 0 : scale * (random.uniform() - 0.5) * 3;
    std::vector<float> values(count);
    for (float& value : values) value = static_cast<float>(centre + scale * (2 * random.uniform() - 1));
    return values;
}

double root_mean_square_error(const Codec& codec, const std::vector<float>& values) {
    const std::vector<float> decoded = round_trip(codec, values);
    double error = 0, size = 0;
    for (std::size_t i = 0; i < values.size(); ++i) {
        error += std::pow(decoded[i] - values[i], 2);
        size += std::pow(values[i], 2);
    }
    return std::sqrt(error / size);
}

// ---- uniform8

class Uniform8 : public testing::Test {
  protected:
    std::unique_ptr<const Codec> codec_ = make_codec("uniform8");
};

TEST_F(Uniform8, keeps_every_value_within_half_a_step) {
    EXPECT_TRUE(rc::check([this](std::uint64_t seed) {
        Random random(seed);
        const std::vector<float> values = any_block(1 + random.below(4096), random);
        const auto [low, high] = std::minmax_element(values.begin(), values.end());
        const double half_a_step = (static_cast<double>(*high) - *low) / 510;
        // The step is rounded to a multiple of 2^-149, and taken up to 127.5 times.
        const double roundings = 3 * rounding_at(std::max(std::abs(*low), std::abs(*high))) + 130 * 0x1p-149;
        const std::vector<float> decoded = round_trip(*codec_, values);
        for (std::size_t i = 0; i < values.size(); ++i) {
            RC_ASSERT(std::abs(static_cast<double>(decoded[i]) - values[i]) <= half_a_step + roundings);
            RC_ASSERT(decoded[i] >= *low && decoded[i] <= *high);
        }
    }));
}

TEST_F(Uniform8, has_the_bound_between_two_steps_and_rounds_up_there) {
    std::vector<float> values = {0, 255};
    for (int i = 0; i < 255; ++i) values.push_back(static_cast<float>(i) + 0.5F);
    const std::vector<float> decoded = round_trip(*codec_, values);
    EXPECT_EQ(decoded[0], 0);
    EXPECT_EQ(decoded[1], 255);
    for (std::size_t i = 2; i < values.size(); ++i) EXPECT_EQ(decoded[i], values[i] + 0.5F);
}

TEST_F(Uniform8, keeps_blocks_of_equal_values_whatever_they_are) {
    for (const float value : {0.0F, 1.0F, -3.7F, 0x1p-149F, -0x1.8p-130F, 0x1.fffffep127F, -0x1.fffffep127F})
        EXPECT_EQ(round_trip(*codec_, std::vector<float>(77, value)), std::vector<float>(77, value));
    const std::vector<float> zeros = round_trip(*codec_, {-0.0F, 0.0F, -0.0F});
    for (const float zero : zeros) EXPECT_EQ(to_bits(zero), 0U);
}

TEST_F(Uniform8, bears_the_widest_range_and_the_narrowest) {
    const float most = std::numeric_limits<float>::max();
    const std::vector<float> wide = round_trip(*codec_, {-most, most, 0, most / 2});
    EXPECT_EQ(wide[0], -most);
    EXPECT_EQ(wide[1], most);
    EXPECT_NEAR(wide[2] / most, 0, 1.0 / 255 + 1e-6);
    EXPECT_NEAR(wide[3] / most, 0.5, 1.0 / 255 + 1e-6);
    const std::vector<float> narrow = {0x1p-149F, 3 * 0x1p-149F, 200 * 0x1p-149F};
    const std::vector<float> decoded = round_trip(*codec_, narrow);
    for (std::size_t i = 0; i < narrow.size(); ++i) EXPECT_NEAR(decoded[i], narrow[i], 2 * 0x1p-149);
}

TEST_F(Uniform8, gives_each_block_a_range_of_its_own) {
    std::vector<float> values(4097, 2.0F);
    values[3] = -1;
    values[4096] = 0.5F;
    const Bytes encoded = codec_->encode(values);
    ASSERT_EQ(encoded.size(), 16U + 4097U);
    EXPECT_EQ(word(encoded, 0), to_bits(-1));
    EXPECT_EQ(word(encoded, 1), to_bits(2));
    EXPECT_EQ(word(encoded, 2), to_bits(0.5F));
    EXPECT_EQ(word(encoded, 3), to_bits(0.5F));
}

TEST_F(Uniform8, refuses_ranges_that_no_encoder_writes) {
    const std::uint32_t one = to_bits(1), two = to_bits(2), nan = 0x7FC00000;
    using Pair = std::pair<std::uint32_t, std::uint32_t>;
    for (const auto& [low, high] :
         {Pair(two, one), Pair(one, 0x7F800000), Pair(0xFF800000, one), Pair(nan, one), Pair(one, nan),
          Pair(0x80000000, one), Pair(to_bits(-1), 0x80000000), Pair(nan, nan | 1), Pair(0xFFC00000, nan)}) {
        Bytes encoded(8 + 3, 200);
        set_word(encoded, 0, low);
        set_word(encoded, 1, high);
        expect_refused(*codec_, encoded, 3, std::to_string(low) + " " + std::to_string(high));
    }
}

TEST_F(Uniform8, decodes_every_code_of_the_widest_range_to_a_finite_value) {
    Bytes encoded(8 + 256);
    set_word(encoded, 0, 0xFF7FFFFF);
    set_word(encoded, 1, 0x7F7FFFFF);
    for (unsigned code = 0; code < 256; ++code) encoded[8 + code] = static_cast<std::uint8_t>(code);
    std::vector<float> values(256);
    codec_->decode(encoded, values);
    for (std::size_t code = 1; code < 256; ++code) EXPECT_GT(values[code], values[code - 1]);
}

// ---- quantile8

class Quantile8 : public testing::Test {
  protected:
    std::unique_ptr<const Codec> codec_ = make_codec("quantile8");
};

TEST_F(Quantile8, keeps_every_value_within_the_width_of_its_group) {
    EXPECT_TRUE(rc::check([this](std::uint64_t seed) {
        Random random(seed);
        const std::size_t count = 1 + random.below(random.below(2) == 0 ? 600 : 16384);
        const std::vector<float> values =
            random.below(2) == 0 ? any_block(count, random) : finite_floats(count, random);
        const std::vector<float> decoded = round_trip(*codec_, values);
        std::vector<std::size_t> order(count);
        for (std::size_t i = 0; i < count; ++i) order[i] = i;
        std::sort(order.begin(), order.end(), [&](auto a, auto b) { return values[a] < values[b]; });
        const std::size_t groups = std::min<std::size_t>(count, 256);
        for (std::size_t group = 0; group < groups; ++group) {
            const std::size_t begin = group * count / groups, end = (group + 1) * count / groups;
            const double low = values[order[begin]], high = values[order[end - 1]];
            for (std::size_t i = begin; i < end; ++i) {
                const double error = std::abs(static_cast<double>(decoded[order[i]]) - values[order[i]]);
                RC_ASSERT(error <= high - low + 2 * rounding_at(std::max(std::abs(low), std::abs(high))));
            }
        }
    }));
}

TEST_F(Quantile8, keeps_up_to_256_values_exactly) {
    Random random(11);
    for (const std::size_t count : {1, 2, 255, 256}) {
        const std::vector<float> values = gradient_like(count, random);
        EXPECT_EQ(round_trip(*codec_, values), values);
        EXPECT_EQ(codec_->encoded_size(count), 5 * count);
    }
    EXPECT_EQ(codec_->encoded_size(257), 1024U + 257U);
    EXPECT_EQ(codec_->encoded_size(16384 + 1), 1024U + 16384U + 5U);
}

TEST_F(Quantile8, uses_all_codes_equally_often_whatever_the_distribution) {
    std::vector<float> values(16384);
    for (std::size_t i = 0; i < values.size(); ++i)
        values[i] = std::exp(static_cast<float>(i * 7919 % 16384) / 1000.0F);
    const Bytes encoded = codec_->encode(values);
    std::vector<int> uses(256, 0);
    for (std::size_t i = 0; i < values.size(); ++i) ++uses[encoded[1024 + i]];
    for (const int each : uses) EXPECT_NEAR(each, 64, 2);
}

TEST_F(Quantile8, keeps_most_values_better_than_equal_steps_where_some_are_far_out) {
    Random random(12);
    std::vector<float> values = gradient_like(16384, random);
    for (std::size_t i = 0; i < values.size(); i += 500) values[i] *= 300;
    const auto uniform = make_codec("uniform8");
    const std::vector<float> a = round_trip(*codec_, values), b = round_trip(*uniform, values);
    std::size_t better = 0;
    for (std::size_t i = 0; i < values.size(); ++i)
        if (std::abs(a[i] - values[i]) < std::abs(b[i] - values[i])) ++better;
    EXPECT_GT(better, values.size() * 9 / 10);
}

TEST_F(Quantile8, orders_codebooks_and_refuses_those_of_others_that_are_not) {
    Random random(13);
    std::vector<float> values = finite_floats(300, random);
    const Bytes good = codec_->encode(values);
    for (std::size_t k = 1; k < 256; ++k) EXPECT_LE(from_bits(word(good, k - 1)), from_bits(word(good, k)));
    for (const std::uint32_t bits : {0x7F800000U, 0xFF800000U, 0x7FC00000U, 0x80000000U, 0xFF7FFFFFU}) {
        Bytes bad = good;
        set_word(bad, 128, bits);
        expect_refused(*codec_, bad, values.size(), std::to_string(bits));
    }
    Bytes half_marked = good;
    set_word(half_marked, 0, 0x7FC00000);
    expect_refused(*codec_, half_marked, values.size(), "a mark in the first entry only");
}

TEST_F(Quantile8, refuses_codes_beyond_a_short_codebook) {
    Bytes encoded = codec_->encode({{1.0F, 2.0F, 3.0F}});
    ASSERT_EQ(encoded.size(), 15U);
    encoded[14] = 2;
    std::vector<float> values(3);
    codec_->decode(encoded, values);
    encoded[14] = 3;
    expect_refused(*codec_, encoded, 3, "code 3 of 3");
}

// ---- blockwise4

class Blockwise4 : public testing::Test {
  protected:
    std::unique_ptr<const Codec> codec_ = make_codec("blockwise4");
};

/// The quantile of the normal distribution, by bisection.
double normal_quantile(double probability) {
    double low = -10, high = 10;
    for (int i = 0; i < 200; ++i) {
        const double middle = (low + high) / 2;
        (0.5 * std::erfc(-middle / std::sqrt(2.0)) < probability ? low : high) = middle;
    }
    return low;
}

TEST_F(Blockwise4, map_is_the_one_of_the_definition) {
    const double last = 0.9677083;
    std::vector<double> map = {0};
    for (int i = 0; i < 8; ++i) map.push_back(normal_quantile(last + (0.5 - last) * i / 8));
    for (int i = 0; i < 7; ++i) map.push_back(-normal_quantile(last + (0.5 - last) * i / 7));
    std::sort(map.begin(), map.end());
    ASSERT_EQ(map.size(), 16U);
    for (std::size_t code = 0; code < 16; ++code) EXPECT_NEAR(kNormalMap[code], map[code] / map[15], 1e-6);
    EXPECT_EQ(kNormalMap[0], -1);
    EXPECT_EQ(kNormalMap[kNormalZero], 0);
    EXPECT_EQ(kNormalMap[15], 1);
}

TEST_F(Blockwise4, chooses_the_nearest_value_of_the_map) {
    EXPECT_TRUE(rc::check([this](std::uint64_t seed) {
        Random random(seed);
        const double scale = std::ldexp(1 + random.uniform(), static_cast<int>(random.below(230)) - 120);
        std::vector<float> values(1 + random.below(64));
        for (float& value : values) value = static_cast<float>((2 * random.uniform() - 1) * scale);
        values[random.below(values.size())] = static_cast<float>(random.below(2) == 0 ? scale : -scale);
        const std::vector<float> decoded = round_trip(*codec_, values);
        const double largest = static_cast<double>(static_cast<float>(scale));
        for (std::size_t i = 0; i < values.size(); ++i) {
            double least = 2;
            for (const float entry : kNormalMap)
                least = std::min(least, std::abs(static_cast<double>(entry) - values[i] / largest));
            const double error = std::abs(decoded[i] / largest - values[i] / largest);
            RC_ASSERT(error <= least + 1e-6);
            RC_ASSERT(error <= 0.152);
        }
    }));
}

TEST_F(Blockwise4, has_the_bound_halfway_between_the_two_lowest_values) {
    const float middle = (kNormalMap[0] + kNormalMap[1]) / 2;
    const std::vector<float> decoded =
        round_trip(*codec_, {1, std::nextafter(middle, -1.0F), std::nextafter(middle, 0.0F)});
    EXPECT_EQ(decoded[1], -1);
    EXPECT_EQ(decoded[2], kNormalMap[1]);
    EXPECT_NEAR(decoded[2] - middle, 0.1519, 1e-4);
}

TEST_F(Blockwise4, keeps_the_largest_of_either_sign_and_zero_exactly) {
    for (const float scale : {1.0F, 0.37F, 0x1p-149F, 0x1p-126F, 1e-35F, 3e38F, 0x1.fffffep127F}) {
        std::vector<float> values(63, 0.0F);
        values[7] = scale;
        values[62] = -scale;
        EXPECT_EQ(round_trip(*codec_, values), values);
    }
}

TEST_F(Blockwise4, packs_the_two_halves_of_a_block_into_the_two_halves_of_its_bytes) {
    std::vector<float> values(64 + 3);
    for (std::size_t i = 0; i < 64; ++i) values[i] = kNormalMap[i < 32 ? 15 : i % 16];
    values[64] = 2;
    values[65] = 0;
    values[66] = -2;
    const Bytes encoded = codec_->encode(values);
    ASSERT_EQ(encoded.size(), 8U + 32U + 2U);
    EXPECT_EQ(word(encoded, 0), to_bits(1));
    EXPECT_EQ(word(encoded, 1), to_bits(2));
    for (std::size_t i = 0; i < 32; ++i) EXPECT_EQ(encoded[8 + i], 15 + 16 * (i % 16));
    EXPECT_EQ(encoded[8 + 32], 15 + 16 * 0);
    EXPECT_EQ(encoded[8 + 33], kNormalZero);
}

TEST_F(Blockwise4, every_code_decodes_to_its_map_value_times_the_scale) {
    Bytes encoded(8 + 16);
    std::vector<float> values(32);
    encoded.resize(codec_->encoded_size(32));
    set_word(encoded, 0, to_bits(0.37F));
    for (unsigned i = 0; i < 16; ++i) encoded[4 + i] = static_cast<std::uint8_t>(i + 16 * (15 - i));
    codec_->decode(encoded, values);
    for (std::size_t i = 0; i < 16; ++i) {
        EXPECT_EQ(to_bits(values[i]), to_bits(kNormalMap[i] * 0.37F));
        EXPECT_EQ(to_bits(values[16 + i]), to_bits(kNormalMap[15 - i] * 0.37F));
    }
}

TEST_F(Blockwise4, loses_a_tenth_of_normally_distributed_values) {
    Random random(14);
    EXPECT_LT(root_mean_square_error(*codec_, gradient_like(100000, random)), 0.1);
}

TEST_F(Blockwise4, refuses_scales_and_a_last_half_byte_that_no_encoder_writes) {
    Bytes encoded(4 + 2, 0x07);
    for (const std::uint32_t scale :
         {0x7F800000U, 0xFF800000U, 0x80000000U, 0xBF800000U, 0x7FC00001U, 0xFFC00000U}) {
        set_word(encoded, 0, scale);
        expect_refused(*codec_, encoded, 3, std::to_string(scale));
    }
    set_word(encoded, 0, to_bits(1));
    std::vector<float> values(3);
    codec_->decode(encoded, values);
    encoded[5] = 0x17;
    expect_refused(*codec_, encoded, 3, "a fourth value");
    values.resize(4);
    codec_->decode(encoded, values);
}

}  // namespace
}  // namespace shoal::compress
