// The codec blockwise8 against the definition of the dynamic map.
#include "compress/float_inputs.h"

#include <algorithm>
#include <cstring>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include "shoal/base/error.h"
#include "shoal/compress/codec.h"
#include "shoal/compress/dynamic_map.h"

namespace shoal::compress {
namespace {

using namespace shoal::test;

/// The map as bitsandbytes builds it: midpoints of 2^i intervals of [0.1, 1], times 10^(i-6), both signs, 0
/// and 1.
std::vector<double> defined_map() {
    std::vector<double> map = {0, 1};
    for (int i = 0; i < 7; ++i) {
        const int cells = 1 << i;
        for (int j = 0; j < cells; ++j) {
            const double middle = (0.1 + 0.9 * (j + 0.5) / cells) * std::pow(10.0, i - 6);
            map.push_back(middle);
            map.push_back(-middle);
        }
    }
    std::sort(map.begin(), map.end());
    return map;
}

float scale_of_block(const Bytes& encoded, std::size_t block) {
    float scale;
    std::memcpy(&scale, encoded.data() + block * sizeof(float), sizeof(scale));
    return scale;
}

void set_scale(Bytes& encoded, std::uint32_t bits) {
    std::memcpy(encoded.data(), &bits, sizeof(bits));
}

class Blockwise8 : public testing::Test {
  protected:
    std::vector<float> round_trip(const std::vector<float>& values) const {
        std::vector<float> decoded(values.size());
        codec_->decode(codec_->encode(values), decoded);
        return decoded;
    }
    std::unique_ptr<const Codec> codec_ = make_codec("blockwise8");
    std::vector<double> map_ = defined_map();
};

TEST_F(Blockwise8, map_is_the_one_of_the_definition) {
    ASSERT_EQ(map_.size(), 256U);
    for (unsigned code = 0; code < 256; ++code) {
        EXPECT_NEAR(dynamic_map_value(code), map_[code], 1e-6 * std::abs(map_[code])) << code;
    }
    EXPECT_NEAR(dynamic_map_value(0), -0.99296875, 1e-7);
    EXPECT_NEAR(dynamic_map_value(126), -5.5e-7, 1e-12);
    EXPECT_EQ(dynamic_map_value(127), 0);
    EXPECT_NEAR(dynamic_map_value(129), 3.25e-6, 1e-11);
    EXPECT_NEAR(dynamic_map_value(254), 0.99296875, 1e-7);
    EXPECT_EQ(dynamic_map_value(255), 1);
}

TEST_F(Blockwise8, every_code_decodes_to_its_map_value_times_the_scale) {
    Bytes encoded(4 + 256);
    for (const float scale : {1.0F, 0.37F, 1e-40F, 3e38F}) {
        set_scale(encoded, to_bits(scale));
        for (unsigned code = 0; code < 256; ++code) encoded[4 + code] = static_cast<std::uint8_t>(code);
        std::vector<float> decoded(256);
        codec_->decode(encoded, decoded);
        for (unsigned code = 0; code < 256; ++code) {
            EXPECT_EQ(to_bits(decoded[code]), to_bits(dynamic_map_value(code) * scale))
                << code << " " << scale;
        }
    }
}

TEST_F(Blockwise8, every_map_value_encodes_to_its_own_code) {
    for (const float scale : {1.0F, 0.37F, 1e-30F, 1e-35F, 3e38F}) {
        std::vector<float> values;
        for (unsigned code = 0; code < 256; ++code) values.push_back(dynamic_map_value(code) * scale);
        const Bytes encoded = codec_->encode(values);
        for (unsigned code = 0; code < 256; ++code) EXPECT_EQ(encoded[4 + code], code) << scale;
    }
}

TEST_F(Blockwise8, chooses_the_nearest_value_of_the_map) {
    EXPECT_TRUE(rc::check([this](std::uint64_t seed) {
        Random random(seed);
        // Shares of all sizes, of scales from denormal to nearly the largest float.
        const double scale = std::ldexp(1 + random.uniform(), static_cast<int>(random.below(230)) - 120);
        std::vector<float> values = {static_cast<float>(scale)};
        for (int i = 0; i < 500; ++i) {
            const double share = std::pow(10.0, -8 * random.uniform()) * (random.below(2) == 0 ? 1 : -1);
            values.push_back(static_cast<float>(share * scale));
        }
        const std::vector<float> decoded = round_trip(values);
        for (std::size_t i = 0; i < values.size(); ++i) {
            const double share = values[i] / static_cast<double>(values[0]);
            double least = 2;
            for (const double entry : map_) least = std::min(least, std::abs(entry - share));
            const double error = std::abs(decoded[i] / static_cast<double>(values[0]) - share);
            // A few roundings, the last of which may be to a denormal number.
            RC_ASSERT(error <= least + 1e-6 * std::abs(share) + 0x1p-148 / scale);
        }
    }));
}

TEST_F(Blockwise8, largest_value_of_a_block_is_kept_exactly_and_its_negative_nearly) {
    std::vector<float> values(4096, 0.01F);
    values[77] = 123.456F;
    values[78] = -123.456F;
    const std::vector<float> decoded = round_trip(values);
    EXPECT_EQ(decoded[77], 123.456F);
    EXPECT_NEAR(decoded[78], -0.99296875 * 123.456, 1e-4);
}

TEST_F(Blockwise8, relative_error_is_small_over_three_decades) {
    Random random(9);
    const std::vector<float> values = gradient_like(100000, random);
    const std::vector<float> decoded = round_trip(values);
    double error = 0, size = 0;
    for (std::size_t i = 0; i < values.size(); ++i) {
        error += std::pow(decoded[i] - values[i], 2);
        size += std::pow(values[i], 2);
    }
    EXPECT_LT(std::sqrt(error / size), 0.02);
}

TEST_F(Blockwise8, blocks_have_scales_of_their_own) {
    std::vector<float> values(4097, 2.0F);
    values[4096] = -0.5F;
    const Bytes encoded = codec_->encode(values);
    ASSERT_EQ(encoded.size(), 8U + 4097U);
    EXPECT_EQ(scale_of_block(encoded, 0), 2.0F);
    EXPECT_EQ(scale_of_block(encoded, 1), 0.5F);
}

TEST_F(Blockwise8, a_block_of_zeros_or_of_the_smallest_numbers_survives) {
    EXPECT_EQ(round_trip(std::vector<float>(10, 0.0F)), std::vector<float>(10, 0.0F));
    EXPECT_EQ(round_trip(std::vector<float>(10, -0.0F)), std::vector<float>(10, 0.0F));
    EXPECT_EQ(round_trip(std::vector<float>(20, 0x1p-149F)), std::vector<float>(20, 0x1p-149F));
    EXPECT_EQ(round_trip(std::vector<float>(20, 0x1.fffffep127F)), std::vector<float>(20, 0x1.fffffep127F));
}

TEST_F(Blockwise8, refuses_scales_that_no_encoder_writes) {
    std::vector<float> values(3);
    Bytes encoded(4 + 3, 200);
    for (const std::uint32_t scale :
         {0x7F800000U, 0xFF800000U, 0x80000000U, 0xBF800000U, 0x7FC00001U, 0xFFC00000U}) {
        set_scale(encoded, scale);
        EXPECT_THROW(codec_->decode(encoded, values), Error) << scale;
        EXPECT_THROW(codec_->decode_scaled_add(encoded, 1, values), Error) << scale;
    }
    set_scale(encoded, 0x7F7FFFFF);
    codec_->decode(encoded, values);
    for (const float value : values) EXPECT_TRUE(std::isfinite(value));
}

}  // namespace
}  // namespace shoal::compress
