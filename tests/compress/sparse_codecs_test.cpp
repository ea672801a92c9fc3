// Codecs that leave values out: which ones they keep, and what travels.
#include "compress/float_inputs.h"
#include "compress/simd_paths.h"

#include <algorithm>
#include <cstring>
#include <gtest/gtest.h>
#include <numeric>
#include <rapidcheck/gtest.h>

#include "shoal/base/error.h"
#include "shoal/compress/codec.h"
#include "shoal/compress/index_set.h"

namespace shoal::compress {
namespace {

using namespace shoal::test;

std::vector<float> decoded(const Codec& codec, std::span<const float> values, std::uint64_t seed = 0) {
    std::vector<float> result(values.size(), 7.0F);
    codec.decode(codec.encode(values, seed), result);
    return result;
}

/// The definition: the k largest magnitudes, earlier ones first where they are equal.
std::vector<float> top_k_by_sorting(std::span<const float> values, std::size_t k) {
    std::vector<std::size_t> order(values.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
        return (to_bits(values[a]) & 0x7FFFFFFF) > (to_bits(values[b]) & 0x7FFFFFFF);
    });
    std::vector<float> result(values.size(), 0.0F);
    for (std::size_t i = 0; i < k; ++i) result[order[i]] = values[order[i]];
    return result;
}

TEST(TopK, keeps_the_largest_magnitudes_and_the_first_of_equal_ones) {
    const std::vector<float> values = {1, -3, 2, 3, -2, 0, 3, -1};
    EXPECT_EQ(decoded(*make_codec("top_k:0.25"), values), (std::vector<float>{0, -3, 0, 3, 0, 0, 0, 0}));
    EXPECT_EQ(decoded(*make_codec("top_k:0.5"), values), (std::vector<float>{0, -3, 2, 3, 0, 0, 3, 0}));
    EXPECT_EQ(decoded(*make_codec("top_k:1"), values), values);
}

TEST(TopK, is_what_sorting_gives_for_any_values_ties_and_any_simd_path) {
    EXPECT_TRUE(rc::check([](std::uint64_t seed) {
        Random random(seed);
        const std::size_t count = 1 + random.below(random.below(2) == 0 ? 100 : 40000);
        std::vector<float> values =
            random.below(2) == 0 ? any_floats(count, random) : gradient_like(count, random);
        // Ties: many values from a few.
        if (const std::uint64_t kinds = random.below(4); kinds > 0)
            for (float& value : values)
                if (random.below(4) < kinds) value = values[random.below(kinds)];
        const double share = std::max(random.uniform(), 1e-6);
        const auto codec = make_codec("top_k:" + std::to_string(share));
        const std::vector<float> expected = top_k_by_sorting(values, codec->sent_values(count));
        on_every_simd_path([&](const std::string& path) {
            if (!same_bits(decoded(*codec, values), expected)) RC_FAIL(path);
        });
    }));
}

TEST(TopK, finds_its_values_where_a_sample_misleads) {
    // Values that the sample of a search never sees, or sees only.
    for (const std::size_t large : {std::size_t{5}, std::size_t{600}, std::size_t{40000}}) {
        for (const bool first : {true, false}) {
            std::vector<float> values(1 << 18, 0.25F);
            for (std::size_t i = 0; i < large; ++i)
                values[first ? i : values.size() - 1 - i] = static_cast<float>(i % 100) + 1.0F;
            const auto codec = make_codec("top_k:0.05");
            EXPECT_TRUE(same_bits(decoded(*codec, values),
                                  top_k_by_sorting(values, codec->sent_values(values.size()))));
        }
    }
    std::vector<float> periodic(1 << 18);
    for (std::size_t i = 0; i < periodic.size(); ++i) periodic[i] = i % 256 < 16 ? 100.0F : 1.0F;
    for (std::size_t i = 0; i < periodic.size(); ++i) periodic[i] += static_cast<float>(i % 1024) * 1e-3F;
    for (const char* name : {"top_k:0.01", "top_k:0.0625", "top_k:0.07", "top_k:0.5", "top_k:0.99"}) {
        const auto codec = make_codec(name);
        EXPECT_TRUE(same_bits(decoded(*codec, periodic),
                              top_k_by_sorting(periodic, codec->sent_values(periodic.size()))))
            << name;
    }
}

TEST(TopK, keeps_its_promise_exactly_at_its_worst) {
    // All equal: the error is exactly 1 - k/n.
    for (const std::size_t count : {1, 10, 999, 5000}) {
        const std::vector<float> values(count, -2.0F);
        const auto codec = make_codec("top_k:0.1");
        const std::vector<float> kept = decoded(*codec, values);
        const auto zeros = static_cast<double>(std::count(kept.begin(), kept.end(), 0.0F));
        EXPECT_DOUBLE_EQ(zeros / static_cast<double>(count), 1 - 1 / *codec->guarantee(count).contraction);
    }
}

TEST(TopK, takes_the_bytes_that_its_parts_take) {
    for (const std::size_t count : {1, 2, 99, 1000, 4096, 100000}) {
        const auto plain = make_codec("top_k:0.01"), composed = make_codec("top_k:0.01+blockwise8");
        const std::size_t kept = plain->sent_values(count);
        EXPECT_EQ(kept, std::max<std::size_t>(1, (count + 50) / 100));
        const std::size_t indices = IndexLayout(count, kept).bytes();
        EXPECT_EQ(plain->encoded_size(count), indices + 4 * kept);
        EXPECT_EQ(composed->encoded_size(count), indices + make_codec("blockwise8")->encoded_size(kept));
        // log2(100) + 2 bits an index, and less than a byte for the ends of either part.
        EXPECT_LE(static_cast<double>(indices), static_cast<double>(kept) * (std::log2(100) + 2) / 8 + 2);
    }
}

TEST(TopK, composed_is_the_other_codec_of_the_kept_values) {
    Random random(5);
    const std::vector<float> values = gradient_like(30000, random);
    const std::vector<float> top = decoded(*make_codec("top_k:0.2"), values);
    const std::vector<float> composed = decoded(*make_codec("top_k:0.2+blockwise8"), values);
    std::vector<float> kept, small;
    for (std::size_t i = 0; i < values.size(); ++i) {
        if (top[i] == 0) {
            EXPECT_EQ(composed[i], 0);
        } else {
            kept.push_back(top[i]);
            small.push_back(composed[i]);
        }
    }
    EXPECT_EQ(decoded(*make_codec("blockwise8"), kept), small);
}

TEST(RandK, keeps_as_many_as_it_says_and_scales_them) {
    Random random(1);
    for (const std::size_t count : {1, 3, 10, 2048, 2049, 100001}) {
        std::vector<float> values = gradient_like(count, random);
        for (float& value : values) value += value == 0 ? 1.0F : 0.0F;
        const auto codec = make_codec("rand_k:0.3");
        const std::size_t kept = codec->sent_values(count);
        EXPECT_EQ(codec->encoded_size(count), 8 + 4 * kept);
        const std::vector<float> result = decoded(*codec, values, count);
        std::size_t found = 0;
        for (std::size_t i = 0; i < count; ++i) {
            if (result[i] == 0) continue;
            ++found;
            EXPECT_FLOAT_EQ(result[i], values[i] * static_cast<float>(static_cast<double>(count) /
                                                                      static_cast<double>(kept)));
        }
        EXPECT_EQ(found, kept);
    }
}

TEST(RandK, draws_every_pair_of_positions_equally_often) {
    // 5 of 12, many seeds: pairs are kept with probability 5/12 * 4/11.
    constexpr std::size_t kCount = 12, kSeeds = 60000;
    const auto codec = make_codec("rand_k:0.42");
    ASSERT_EQ(codec->sent_values(kCount), 5U);
    std::array<std::array<int, kCount>, kCount> together{};
    const std::vector<float> ones(kCount, 1.0F);
    for (std::size_t seed = 0; seed < kSeeds; ++seed) {
        const std::vector<float> result = decoded(*codec, ones, seed);
        for (std::size_t i = 0; i < kCount; ++i)
            for (std::size_t j = 0; j < kCount; ++j)
                together[i][j] += result[i] != 0 && result[j] != 0 ? 1 : 0;
    }
    for (std::size_t i = 0; i < kCount; ++i) {
        for (std::size_t j = 0; j < kCount; ++j) {
            const double p = i == j ? 5.0 / 12 : 5.0 / 12 * 4 / 11;
            // Five standard deviations; 78 different pairs.
            EXPECT_NEAR(together[i][j], kSeeds * p, 5 * std::sqrt(kSeeds * p * (1 - p))) << i << ", " << j;
        }
    }
}

TEST(RandK, shows_a_value_that_is_not_finite_even_if_it_is_not_kept) {
    for (const float bad : {from_bits(0x7F800000), from_bits(0x7FC00000)}) {
        for (const char* name : {"rand_k:0.01", "perm_k:2/100", "rand_k:0.1+natural"}) {
            std::vector<float> values(1000, 1.0F);
            values[123] = bad;
            const std::vector<float> result = decoded(
                *make_codec(name == std::string("rand_k:0.1+natural") ? "rand_k:0.1+fp16" : name), values, 3);
            EXPECT_TRUE(std::any_of(result.begin(), result.end(), [](float v) { return std::isnan(v); }));
        }
    }
}

TEST(PermK, of_all_devices_adds_up_to_the_vector) {
    Random random(2);
    for (const std::size_t devices : {1, 2, 7, 10, 64}) {
        for (const std::size_t count : {1, 2, 5, 10, 63, 64, 65, 1000, 5001}) {
            const std::vector<float> values = gradient_like(count, random);
            std::vector<double> sum(count);
            for (std::size_t device = 0; device < devices; ++device) {
                const auto codec =
                    make_codec("perm_k:" + std::to_string(device) + "/" + std::to_string(devices));
                const std::vector<float> part = decoded(*codec, values, 77);
                for (std::size_t i = 0; i < count; ++i) sum[i] += part[i];
                const std::size_t part_size = count >= devices ? (count + devices - 1) / devices : 1;
                EXPECT_EQ(codec->sent_values(count), part_size);
                EXPECT_EQ(codec->encoded_size(count), 8 + 4 * part_size);
            }
            for (std::size_t i = 0; i < count; ++i)
                EXPECT_NEAR(sum[i] / static_cast<double>(devices), values[i], 1e-5 * std::abs(values[i]));
        }
    }
}

TEST(PermK, has_the_variance_of_its_definition) {
    EXPECT_DOUBLE_EQ(*make_codec("perm_k:0/10")->guarantee(1000).variance_factor, 10);
    EXPECT_DOUBLE_EQ(*make_codec("perm_k:0/10")->guarantee(10).variance_factor, 10);
    EXPECT_DOUBLE_EQ(*make_codec("perm_k:0/10")->guarantee(5).variance_factor, 5);  // M = 2 d: q = d
    EXPECT_DOUBLE_EQ(*make_codec("perm_k:0/10")->guarantee(1).variance_factor, 1);
}

TEST(IndexSet, reads_what_it_wrote_and_takes_what_it_says) {
    EXPECT_TRUE(rc::check([](std::uint64_t seed) {
        Random random(seed);
        const std::size_t n = 1 + random.below(random.below(2) == 0 ? 70 : 100000);
        std::vector<std::uint32_t> all(n);
        std::iota(all.begin(), all.end(), 0U);
        random.shuffle(std::span(all));
        const std::size_t k = 1 + random.below(random.below(2) == 0 ? n : 1 + n / 50);
        all.resize(k);
        std::sort(all.begin(), all.end());
        const IndexLayout layout(n, k);
        Bytes encoded(layout.bytes());
        IndexWriter writer(layout, encoded.data());
        const std::size_t half = random.below(k + 1);
        writer.add(std::span(all).first(half));
        writer.add(std::span(all).subspan(half));
        std::vector<std::uint32_t> read(k);
        RC_ASSERT(read_indices(layout, encoded.data(), read.data()));
        RC_ASSERT(read == all);
        RC_ASSERT(k == n || layout.bytes() <= (n + 7) / 8);
    }));
}

TEST(IndexSet, refuses_what_no_writer_writes) {
    EXPECT_TRUE(rc::check([](std::uint64_t seed) {
        Random random(seed);
        const std::size_t n = 1 + random.below(3000), k = 1 + random.below(n);
        const IndexLayout layout(n, k);
        Bytes encoded(layout.bytes());
        for (auto& byte : encoded) byte = static_cast<std::uint8_t>(random.next() & random.next());
        std::vector<std::uint32_t> read(k, 0U);
        if (!read_indices(layout, encoded.data(), read.data())) {
            for (const std::uint32_t position : read) RC_ASSERT(position < n);
            return;
        }
        // Accepted: then these are the very bytes of a writer.
        Bytes again(layout.bytes());
        IndexWriter(layout, again.data()).add(read);
        RC_ASSERT(again == encoded);
    }));
}

}  // namespace
}  // namespace shoal::compress
