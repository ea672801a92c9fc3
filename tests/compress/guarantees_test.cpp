// What codecs promise, held against what they do: by many seeds where lots are drawn, on the worst vectors
// there are where none are.
#include "compress/codec_properties.h"
#include "compress/float_inputs.h"

#include <algorithm>
#include <functional>
#include <gtest/gtest.h>
#include <string>

#include "shoal/compress/codec.h"

namespace shoal::compress {
namespace {

using namespace shoal::test;

double squared_norm(std::span<const float> values) {
    double sum = 0;
    for (const float value : values) sum += static_cast<double>(value) * static_cast<double>(value);
    return sum;
}

struct Shape {
    const char* name;
    std::function<std::vector<float>(std::size_t)> make;
};

/// Vectors that are hard for one codec or another.
std::vector<Shape> hard_vectors() {
    const auto filled = [](std::size_t n, float value) { return std::vector<float>(n, value); };
    const auto spiked = [filled](std::size_t n, float others, float spike) {
        std::vector<float> values = filled(n, others);
        values[n / 3] = spike;
        return values;
    };
    const auto random = [](std::size_t n, double deviation) {
        Random source(n);
        return gradient_like(n, source, deviation);
    };
    return {
        {"all_equal", [=](std::size_t n) { return filled(n, 0.7F); }},
        {"all_equal_negative", [=](std::size_t n) { return filled(n, -3e-20F); }},
        {"one_spike", [=](std::size_t n) { return spiked(n, 0, 5); }},
        {"negative_spike", [=](std::size_t n) { return spiked(n, 0, -5); }},
        {"worst_of_blockwise8", [=](std::size_t n) { return spiked(n, 0.0128125F, -1); }},
        {"worst_of_blockwise4", [=](std::size_t n) { return spiked(n, -0.045525F, 1); }},
        {"worst_of_uniform8",
         [=](std::size_t n) {
             std::vector<float> values = spiked(n, 0, 1);  // zero lies between two codes
             values[0] = -1;
             return values;
         }},
        {"spike_among_small", [=](std::size_t n) { return spiked(n, 1e-3F, 1); }},
        {"signs_alternate",
         [=](std::size_t n) {
             std::vector<float> values = filled(n, 1);
             for (std::size_t i = 0; i < n; i += 2) values[i] = -1;
             return values;
         }},
        {"ties",
         [=](std::size_t n) {
             std::vector<float> values(n);
             for (std::size_t i = 0; i < n; ++i) values[i] = static_cast<float>(i % 3) - 1;
             return values;
         }},
        {"geometric",
         [=](std::size_t n) {
             std::vector<float> values(n);
             for (std::size_t i = 0; i < n; ++i) values[i] = std::ldexp(1.3F, -static_cast<int>(i % 80));
             return values;
         }},
        {"normal", [=](std::size_t n) { return random(n, 1); }},
        {"normal_huge", [=](std::size_t n) { return random(n, 1e30); }},
        {"normal_small", [=](std::size_t n) { return random(n, 1e-25); }},
        {"zeros", [=](std::size_t n) { return filled(n, 0); }},
    };
}

/// A cast to half precision promises nothing outside its range.
bool within_range(const Codec& codec, std::span<const float> values) {
    if (codec.name().find("fp16") == std::string_view::npos) return true;
    return std::all_of(values.begin(), values.end(), [](float value) {
        return value == 0 || (std::abs(value) >= 0x1p-14F && std::abs(value) <= 65504);
    });
}

class EveryGuarantee : public testing::TestWithParam<std::string_view> {
  protected:
    std::unique_ptr<const Codec> codec_ = make_codec(GetParam());
};

INSTANTIATE_TEST_SUITE_P(Codecs, EveryGuarantee,
                         testing::ValuesIn(codec_examples().begin(), codec_examples().end()),
                         [](const auto& codec) { return identifier_of(codec.param); });

TEST_P(EveryGuarantee, of_contraction_holds_on_hard_vectors) {
    for (const std::size_t count : {1, 2, 3, 17, 64, 100, 512, 1000, 4096, 20000}) {
        const auto delta = codec_->guarantee(count).contraction;
        if (!delta) continue;
        EXPECT_GE(*delta, 1);
        for (const Shape& shape : hard_vectors()) {
            const std::vector<float> values = shape.make(count);
            if (!within_range(*codec_, values)) continue;
            // Expectations by the mean of many seeds: of power_sgd only, the others draw none.
            const bool draws = codec_->name().starts_with("power_sgd") && count > 64;
            const std::size_t seeds = draws ? (count > 1000 ? 5 : 100) : 1;
            std::vector<double> shares;
            std::vector<float> decoded(count);
            for (std::size_t seed = 0; seed < seeds; ++seed) {
                codec_->decode(codec_->encode(values, seed), decoded);
                for (std::size_t i = 0; i < count; ++i) decoded[i] -= values[i];
                const double whole = squared_norm(values);
                shares.push_back(whole > 0 ? squared_norm(decoded) / whole : squared_norm(decoded));
            }
            double mean = 0, square = 0;
            for (const double share : shares) mean += share / static_cast<double>(seeds);
            for (const double share : shares) square += (share - mean) * (share - mean);
            const double error = std::sqrt(square) / static_cast<double>(seeds);
            EXPECT_LE(mean, 1 - 1 / *delta + 4 * error + 1e-6) << shape.name << ", " << count;
        }
    }
}

TEST_P(EveryGuarantee, of_no_bias_and_of_variance_holds_over_many_seeds) {
    for (const std::size_t count : {1, 2, 5, 30, 530}) {
        const auto q = codec_->guarantee(count).variance_factor;
        if (!q) continue;
        EXPECT_GE(*q, 1);
        for (const Shape& shape : hard_vectors()) {
            const std::vector<float> values = shape.make(count);
            const double whole = squared_norm(values);
            constexpr std::size_t kSeeds = 1000;
            std::vector<double> sums(count), squares(count);
            std::vector<double> norms;
            std::vector<float> decoded(count);
            for (std::size_t seed = 0; seed < kSeeds; ++seed) {
                codec_->decode(codec_->encode(values, seed), decoded);
                for (std::size_t i = 0; i < count; ++i) {
                    const auto value = static_cast<double>(decoded[i]);
                    sums[i] += value;
                    squares[i] += value * value;
                }
                norms.push_back(squared_norm(decoded));
            }
            // Each value by itself, six standard deviations of the mean (estimated; at least what one of all
            // seeds would make), as there are tens of thousands of them.
            for (std::size_t i = 0; i < count; ++i) {
                const double mean = sums[i] / kSeeds;
                const double variance = squares[i] / kSeeds - mean * mean;
                const double rare = std::sqrt(*q * whole / kSeeds) * 0.02;
                EXPECT_NEAR(
                    mean, values[i],
                    6 * std::sqrt(std::max(variance, 0.0) / kSeeds) + rare + 1e-6 * std::abs(values[i]))
                    << shape.name << ", " << i << " of " << count;
            }
            double mean = 0, square = 0;
            for (const double norm : norms) mean += norm / kSeeds;
            for (const double norm : norms) square += (norm - mean) * (norm - mean);
            EXPECT_LE(mean, *q * whole * (1 + 1e-6) + 4 * std::sqrt(square) / kSeeds)
                << shape.name << ", " << count;
        }
    }
}

TEST(Guarantees, are_those_of_the_theory) {
    EXPECT_DOUBLE_EQ(*make_codec("rand_k:0.3")->guarantee(1000).variance_factor, 1000.0 / 300);
    EXPECT_DOUBLE_EQ(*make_codec("rand_k:0.3+natural")->guarantee(1000).variance_factor,
                     1000.0 / 300 * 9 / 8);
    EXPECT_DOUBLE_EQ(*make_codec("top_k:0.01")->guarantee(1000).contraction, 100);
    EXPECT_DOUBLE_EQ(*make_codec("top_k:0.01+blockwise8")->guarantee(1000).contraction, 100 / (1 - 0.0049));
    EXPECT_DOUBLE_EQ(*make_codec("natural")->guarantee(7).variance_factor, 1.125);
    EXPECT_DOUBLE_EQ(*make_codec("qsgd:4")->guarantee(400).variance_factor, 1 + 20.0 / 4);
    EXPECT_DOUBLE_EQ(*make_codec("qsgd:16")->guarantee(64).variance_factor, 1 + 64.0 / 256);
    EXPECT_DOUBLE_EQ(*make_codec("sign")->guarantee(100).contraction, 100);
    EXPECT_DOUBLE_EQ(*make_codec("sign")->guarantee(100000).contraction, 1024);
    EXPECT_DOUBLE_EQ(*make_codec("power_sgd:4@100x50")->guarantee(5000).contraction, 50.0 / 4);
    EXPECT_FALSE(make_codec("rand_k:0.3")->guarantee(1000).contraction);
    EXPECT_FALSE(make_codec("rand_k:0.3+blockwise8")->guarantee(1000).variance_factor);
    EXPECT_FALSE(make_codec("top_k:0.01")->guarantee(1000).variance_factor);
    EXPECT_FALSE(make_codec("top_k:0.01+natural")->guarantee(1000).contraction);
}

TEST(Guarantees, are_met_at_their_worst) {
    // Vectors for which each comes within some percent of what it says: a bound is no guess.
    const auto share_lost = [](const char* name, const std::vector<float>& values) {
        const auto codec = make_codec(name);
        std::vector<float> decoded(values.size());
        codec->decode(codec->encode(values), decoded);
        for (std::size_t i = 0; i < values.size(); ++i) decoded[i] -= values[i];
        return squared_norm(decoded) / squared_norm(values) /
               (1 - 1 / *codec->guarantee(values.size()).contraction);
    };
    const auto shapes = hard_vectors();
    const auto shape = [&](std::string_view name) {
        return *std::find_if(shapes.begin(), shapes.end(), [&](const Shape& s) { return s.name == name; });
    };
    EXPECT_GT(share_lost("blockwise8", shape("worst_of_blockwise8").make(4096)), 0.98);
    EXPECT_GT(share_lost("blockwise4", shape("worst_of_blockwise4").make(64)), 0.98);
    EXPECT_GT(share_lost("uniform8", shape("worst_of_uniform8").make(4096)), 0.9);
    EXPECT_GT(share_lost("sign", shape("one_spike").make(1024)), 0.999);
    EXPECT_GT(share_lost("top_k:0.01", shape("all_equal").make(5000)), 0.999);
}

}  // namespace
}  // namespace shoal::compress
