// Equal floats give equal bytes, and equal bytes equal floats, whatever the processor can do.
#include <algorithm>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "compress/codec_properties.h"
#include "compress/float_inputs.h"
#include "compress/simd_paths.h"

#include "shoal/base/error.h"
#include "shoal/compress/codec.h"

namespace shoal::compress {
namespace {

using namespace shoal::test;

/// All that a codec makes of these values and of these bytes.
struct Results {
    Bytes encoded;
    std::vector<float> decoded, sum;

    bool operator==(const Results& other) const {
        return encoded == other.encoded && same_bits(decoded, other.decoded) && same_bits(sum, other.sum);
    }
};

Results results_of(const Codec& codec, const std::vector<float>& values, const Bytes& bytes) {
    Results results;
    results.encoded = codec.encode(values, values.size());
    results.decoded.resize(values.size());
    results.sum.assign(values.size(), 0.1F);
    codec.decode(bytes, results.decoded);
    codec.decode_scaled_add(results.encoded, 0.3F, results.sum);
    codec.decode_scaled_add(results.encoded, 0.7F, results.sum);
    for (std::vector<float>* floats : {&results.decoded, &results.sum}) {
        for (float& value : *floats) {
            if (std::isnan(value) && floats == &results.sum)
                value = from_bits(0x7FC00000);  // sums of two NaNs
        }
    }
    return results;
}

class SameBits : public testing::TestWithParam<std::string_view> {
  protected:
    void expect_same_on_every_path(const std::vector<float>& values, const Bytes& bytes) {
        const Results best = results_of(*codec_, values, bytes);
        on_every_simd_path([&](const std::string& path) {
            EXPECT_TRUE(results_of(*codec_, values, bytes) == best)
                << path << ", " << values.size() << " values";
        });
    }
    Bytes random_bytes(std::size_t count, Random& random) const {
        Bytes bytes(codec_->encoded_size(count));
        for (auto& byte : bytes) byte = static_cast<std::uint8_t>(random.next());
        // Headers that are not refused: some codecs take any scale that is positive, others an encoder's
        // only.
        const std::size_t block = codec_->granularity(), blocks = (count + block - 1) / block;
        if (codec_->name() == "blockwise8" || codec_->name() == "blockwise4")
            for (std::size_t i = 0; i < blocks; ++i) bytes[4 * i + 3] &= 0x3F;
        if (codec_->name() == "blockwise4" && count % 2 != 0) bytes.back() &= 0x0F;
        const auto names = codec_names();
        const bool known = std::find(names.begin(), names.end(), codec_->name()) != names.end();
        if (codec_->name() == "quantile8" || !known)
            return codec_->encode(finite_floats(count, random), random.next());
        if (codec_->name() == "uniform8") {
            const Bytes valid = codec_->encode(finite_floats(count, random));
            std::copy_n(valid.begin(), 8 * blocks, bytes.begin());
        }
        return bytes;
    }
    std::unique_ptr<const Codec> codec_ = make_codec(GetParam());
};

INSTANTIATE_TEST_SUITE_P(Codecs, SameBits,
                         testing::ValuesIn(codec_examples().begin(), codec_examples().end()),
                         [](const auto& codec) { return identifier_of(codec.param); });

TEST(SimdPaths, include_the_scalar_one_and_what_this_machine_is_best_at) {
    const auto paths = simd_paths();
    EXPECT_EQ(paths.back(), HWY_STATIC_TARGET);
#if defined(__x86_64__) && !defined(__SSSE3__)
    EXPECT_GE(paths.size(), 2U) << "any x86 machine of the last fifteen years has SSSE3";
#endif
}

TEST_P(SameBits, for_every_count) {
    Random random(1);
    for (std::size_t count = 0; count < 150; ++count) {
        expect_same_on_every_path(gradient_like(count, random), random_bytes(count, random));
    }
    for (const std::size_t count : {255, 256, 257, 4095, 4096, 4097, 8192 + 31, 16384 + 17}) {
        expect_same_on_every_path(gradient_like(count, random), random_bytes(count, random));
    }
}

TEST_P(SameBits, for_any_float_and_any_byte) {
    EXPECT_TRUE(rc::check([this](std::uint64_t seed) {
        Random random(seed);
        const std::size_t count = random.below(10000);
        expect_same_on_every_path(any_floats(count, random), random_bytes(count, random));
        expect_same_on_every_path(finite_floats(count, random), random_bytes(count, random));
    }));
}

TEST_P(SameBits, for_the_edges_of_the_formats) {
    Random random(2);
    for (const float value : special_floats()) {
        expect_same_on_every_path(std::vector<float>(33, value), random_bytes(33, random));
    }
    const std::vector<float> all = special_floats();
    expect_same_on_every_path(all, random_bytes(all.size(), random));
}

#if defined(__x86_64__)
TEST_P(SameBits, also_when_a_library_has_turned_denormal_numbers_off) {
    Random random(3);
    std::vector<float> values = finite_floats(10000, random);
    for (std::size_t i = 0; i < 4096; ++i) values[i] = from_bits(to_bits(values[i]) & 0x807FFFFF);
    const Bytes bytes = random_bytes(values.size(), random);
    const Results expected = results_of(*codec_, values, bytes);
    const unsigned before = _mm_getcsr();
    _mm_setcsr(before | 0x8040 | 0x6000);  // flush to zero, denormals are zero, round toward zero
    const Results results = results_of(*codec_, values, bytes);
    EXPECT_EQ(_mm_getcsr() & 0xE040, 0xE040U) << "the caller's mode must come back";
    _mm_setcsr(before);
    EXPECT_TRUE(results == expected);
}
#endif

}  // namespace
}  // namespace shoal::compress
