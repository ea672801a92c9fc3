// What holds for every codec.
#include "shoal/compress/codec.h"

#include "compress/codec_properties.h"
#include "compress/float_inputs.h"

#include <algorithm>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include "shoal/base/error.h"

namespace shoal::compress {
namespace {

using namespace shoal::test;

ErrorKind kind_of_error(const std::function<void()>& action) {
    try {
        action();
    } catch (const Error& error) {
        return error.kind();
    }
    ADD_FAILURE() << "no error was thrown";
    return ErrorKind::system;
}

class EveryCodec : public testing::TestWithParam<std::string_view> {
  protected:
    /// Codecs of one value are fp32 and the casts, which keep an infinity.
    bool casts() const { return codec_->granularity() == 1; }
    std::unique_ptr<const Codec> codec_ = make_codec(GetParam());
};

INSTANTIATE_TEST_SUITE_P(Codecs, EveryCodec,
                         testing::ValuesIn(codec_examples().begin(), codec_examples().end()),
                         [](const auto& codec) { return identifier_of(codec.param); });

/// Those whose vectors can be cut.
class EveryCuttableCodec : public EveryCodec {};

std::vector<std::string_view> cuttable_codecs() {
    std::vector<std::string_view> names;
    for (const std::string_view name : codec_examples())
        if (make_codec(name)->granularity() != kUncuttable) names.push_back(name);
    return names;
}

INSTANTIATE_TEST_SUITE_P(Codecs, EveryCuttableCodec, testing::ValuesIn(cuttable_codecs()),
                         [](const auto& codec) { return identifier_of(codec.param); });

/// Those that an all-reduce may use.
class EveryAllReduceCodec : public EveryCodec {};

INSTANTIATE_TEST_SUITE_P(Codecs, EveryAllReduceCodec,
                         testing::ValuesIn(codec_names().begin(), codec_names().end()),
                         [](const auto& codec) { return identifier_of(codec.param); });

TEST(MakeCodec, refuses_an_unknown_name_and_lists_the_known_ones) {
    try {
        make_codec("fp17");
        FAIL();
    } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::invalid_argument);
        EXPECT_EQ(error.what(), "unknown codec 'fp17'; the known ones are " + std::string(known_codecs()));
        for (const std::string_view name : codec_examples()) {
            const std::string kind(name.substr(0, name.find(':')));
            EXPECT_NE(std::string(error.what()).find(kind), std::string::npos) << kind;
        }
    }
}

TEST(MakeCodec, says_what_a_parameter_may_be) {
    const auto refuses = [](const char* name, const std::string& why) {
        try {
            make_codec(name);
            ADD_FAILURE() << name;
        } catch (const Error& error) {
            EXPECT_EQ(error.kind(), ErrorKind::invalid_argument);
            EXPECT_NE(std::string(error.what()).find(why), std::string::npos) << error.what();
        }
    };
    for (const char* name : {"top_k:", "top_k:0", "top_k:-1", "top_k:1.0001", "top_k:nan", "top_k:inf",
                             "rand_k:x", "rand_k:0.1x", "rand_k: 0.1"})
        refuses(name, "a number above 0, and at most 1");
    for (const char* name : {"qsgd:0", "qsgd:128", "qsgd:-1", "qsgd:4.0", "qsgd:"})
        refuses(name, "a number from 1 to 127");
    for (const char* name :
         {"perm_k:", "perm_k:1", "perm_k:4/4", "perm_k:-1/4", "perm_k:0/0", "perm_k:0/1048577"})
        refuses(name, "DEVICE/DEVICES, with devices counted from 0, of at most 1048576");
    for (const char* name : {"power_sgd:0", "power_sgd:65", "power_sgd:", "power_sgd:x"})
        refuses(name, "a number from 1 to 64");
    for (const char* name :
         {"power_sgd:4@", "power_sgd:4@3", "power_sgd:4@0x3", "power_sgd:4@3x0", "power_sgd:4@3x2147483649"})
        refuses(name, "ROWSxCOLUMNS");
    for (const char* name : {"top_k:0.1+top_k:0.1", "rand_k:0.1+power_sgd:1", "top_k:0.1+rand_k:0.1"})
        refuses(name, "must be one that keeps all of the values");
    refuses("top_k:0.1+fp17", "unknown codec 'fp17'");
    refuses("top_k:0.1+", "behind '+' stands the codec");
    refuses("qsgd:4+fp16", "only rand_k, top_k and perm_k");
    for (const char* name : {"", "top_k", "rand_k", "qsgd", "power_sgd", "fp16:1", "fp16+fp16", "natural:3",
                             "sign+fp16", ":", "+", "/"})
        refuses(name, "unknown codec");
    for (const char* name : {"top_k:1", "rand_k:1e-9", "qsgd:127", "perm_k:1048575/1048576", "power_sgd:64",
                             "power_sgd:1@1x2147483648"})
        EXPECT_EQ(make_codec(name)->name(), name);
}

TEST_P(EveryCodec, knows_its_name) {
    EXPECT_EQ(codec_->name(), GetParam());
}

TEST_P(EveryCodec, takes_no_bytes_for_no_values) {
    EXPECT_EQ(codec_->encoded_size(0), 0U);
    const Bytes encoded = codec_->encode({});
    codec_->decode(encoded, {});
    codec_->decode_scaled_add(encoded, 1, {});
}

TEST_P(EveryCodec, refuses_an_output_of_the_wrong_size) {
    const std::vector<float> values(5000, 1.0F);
    for (const std::size_t size : {codec_->encoded_size(5000) - 1, codec_->encoded_size(5000) + 1}) {
        Bytes encoded(size);
        EXPECT_EQ(kind_of_error([&] { codec_->encode(values, encoded); }), ErrorKind::invalid_argument);
    }
}

TEST_P(EveryCodec, refuses_bytes_that_do_not_fit_the_number_of_values) {
    std::vector<float> values(5000, 1.0F);
    for (const std::size_t size :
         {std::size_t{0}, codec_->encoded_size(5000) - 1, codec_->encoded_size(5000) + 1}) {
        const Bytes encoded(size);
        EXPECT_EQ(kind_of_error([&] { codec_->decode(encoded, values); }), ErrorKind::protocol_violation);
        EXPECT_EQ(kind_of_error([&] { codec_->decode_scaled_add(encoded, 1, values); }),
                  ErrorKind::protocol_violation);
    }
    EXPECT_EQ(values, std::vector<float>(5000, 1.0F));
}

TEST_P(EveryAllReduceCodec, keeps_zeros_and_what_it_has_decoded_before) {
    Random random(1);
    std::vector<float> values = gradient_like(9000, random);
    std::vector<float> once(values.size()), twice(values.size());
    codec_->decode(codec_->encode(values), once);
    codec_->decode(codec_->encode(once), twice);
    for (std::size_t i = 0; i < values.size(); ++i) {
        // Where codes are spread by the values of a block, zero need not have one.
        const bool has_zero = codec_->name() != "uniform8" && codec_->name() != "quantile8";
        if (values[i] == 0 && has_zero) {
            EXPECT_EQ(to_bits(once[i]), 0U);
        }
        // A block without its largest value at +1 shrinks a little when it is encoded again; its ends may
        // move by a rounding; groups of equal values are cut elsewhere.
        const double tolerance = codec_->name() == "blockwise8"  ? 0.02 * std::abs(once[i]) + 1e-5
                                 : codec_->name() == "uniform8"  ? 1e-5
                                 : codec_->name() == "quantile8" ? 0.1 + 0.3 * std::abs(once[i])
                                                                 : 0;
        EXPECT_NEAR(once[i], twice[i], tolerance);
    }
}

TEST_P(EveryCuttableCodec, gives_the_same_values_in_pieces) {
    Random random(2);
    const std::vector<float> values = finite_floats(3 * codec_->granularity() + 5, random);
    std::vector<float> whole(values.size()), pieces(values.size());
    codec_->decode(codec_->encode(values), whole);
    for (std::size_t begin = 0; begin < values.size(); begin += codec_->granularity()) {
        const std::size_t count = std::min(codec_->granularity(), values.size() - begin);
        codec_->decode(codec_->encode(std::span(values).subspan(begin, count)),
                       std::span(pieces).subspan(begin, count));
    }
    EXPECT_TRUE(same_bits(whole, pieces));
}

TEST_P(EveryCodec, takes_no_more_bytes_for_many_values_than_for_each_alone) {
    for (const std::size_t count : {1, 2, 3, 63, 64, 65, 255, 256, 257, 4096, 16384, 16385, 100000}) {
        EXPECT_LE(codec_->encoded_size(count), count * codec_->encoded_size(1)) << count;
    }
}

TEST_P(EveryAllReduceCodec, takes_more_bytes_for_more_values) {
    for (const std::size_t count : {1, 2, 3, 63, 64, 65, 255, 256, 257, 4096, 16384, 16385, 100000})
        EXPECT_GT(codec_->encoded_size(count), codec_->encoded_size(count - 1) - (count % 2 == 0 ? 1U : 0U));
}

TEST_P(EveryCuttableCodec, takes_as_many_bytes_in_pieces_as_at_once) {
    const std::size_t grain = codec_->granularity();
    for (const std::size_t count : {grain, 3 * grain + 1, 5 * grain + grain / 2})
        EXPECT_EQ(codec_->encoded_size(count),
                  codec_->encoded_size(grain) + codec_->encoded_size(count - grain));
}

TEST_P(EveryCodec, adds_exactly_what_it_decodes) {
    Random random(3);
    for (const std::size_t count : {1, 7, 64, 257, 4095, 4096, 4097, 10000, 16385}) {
        const Bytes encoded = codec_->encode(gradient_like(count, random));
        std::vector<float> sum = gradient_like(count, random, 3);
        std::vector<float> decoded(count), expected = sum;
        codec_->decode(encoded, decoded);
        const float scale = 0.3F;
        for (std::size_t i = 0; i < count; ++i) {
            const volatile float product = scale * decoded[i];
            expected[i] += product;
        }
        codec_->decode_scaled_add(encoded, scale, sum);
        EXPECT_TRUE(same_bits(sum, expected)) << count;
    }
}

TEST_P(EveryCuttableCodec, never_hides_a_value_that_is_not_finite) {
    Random random(4);
    for (const float bad :
         {from_bits(0x7F800000), from_bits(0xFF800000), from_bits(0x7FC00000), from_bits(0xFF800001)}) {
        const std::size_t block = std::max<std::size_t>(codec_->granularity(), 64), count = block + 903;
        for (const std::size_t at :
             {std::size_t{0}, std::size_t{15}, std::size_t{16}, block - 2, block - 1, block, count - 1}) {
            std::vector<float> values = gradient_like(count, random);
            values[at] = bad;
            std::vector<float> decoded(values.size()), sum(values.size(), 1.0F);
            const Bytes encoded = codec_->encode(values);
            codec_->decode(encoded, decoded);
            codec_->decode_scaled_add(encoded, 0.5F, sum);
            EXPECT_FALSE(std::isfinite(decoded[at]));
            EXPECT_FALSE(std::isfinite(sum[at]));
            EXPECT_EQ(std::isnan(decoded[at]), std::isnan(bad) || !casts());
            // Other blocks are not touched by it.
            const std::size_t elsewhere = at < block ? block + 1 : 1;
            EXPECT_TRUE(std::isfinite(decoded[elsewhere]));
            EXPECT_TRUE(std::isfinite(sum[elsewhere]));
        }
    }
}

TEST_P(EveryCodec, never_hides_all_values_that_are_not_finite) {
    Random random(4);
    for (const float bad :
         {from_bits(0x7F800000), from_bits(0xFF800000), from_bits(0x7FC00000), from_bits(0xFF800001)}) {
        for (const std::size_t count : {1, 15, 1000, 20001}) {
            for (const std::size_t at : {std::size_t{0}, count / 2, count - 1}) {
                std::vector<float> values = gradient_like(count, random);
                values[at] = bad;
                std::vector<float> decoded(values.size()), sum(values.size(), 1.0F);
                const Bytes encoded = codec_->encode(values, at);
                codec_->decode(encoded, decoded);
                codec_->decode_scaled_add(encoded, 0.5F, sum);
                const auto is_bad = [](float value) { return !std::isfinite(value); };
                EXPECT_TRUE(std::any_of(decoded.begin(), decoded.end(), is_bad)) << count << ", " << at;
                EXPECT_TRUE(std::any_of(sum.begin(), sum.end(), is_bad)) << count << ", " << at;
            }
        }
    }
}

TEST_P(EveryCodec, gives_equal_bytes_for_equal_values_and_seeds_only) {
    Random random(7);
    const std::vector<float> values = gradient_like(5000, random);
    const Bytes first = codec_->encode(values, 1);
    EXPECT_EQ(codec_->encode(values, 1), first);
    EXPECT_EQ(make_codec(GetParam())->encode(values, 1), first);
    EXPECT_EQ(codec_->encode(values), codec_->encode(values, 0));
    const std::string name(codec_->name());
    const bool draws = name == "natural" || name.starts_with("qsgd") || name.starts_with("rand_k") ||
                       name.starts_with("perm_k") || name.starts_with("power_sgd");
    EXPECT_EQ(codec_->encode(values, 2) != first, draws);
}

TEST_P(EveryCodec, counts_what_it_sends) {
    for (const std::size_t count : {1, 2, 100, 5000, 100001}) {
        EXPECT_DOUBLE_EQ(codec_->guarantee(count).density, static_cast<double>(codec_->encoded_size(count)) /
                                                               (4.0 * static_cast<double>(count)));
        EXPECT_LE(codec_->sent_values(count), count);
        EXPECT_GE(codec_->sent_values(count), 1U);
    }
    EXPECT_EQ(codec_->guarantee(0).density, 1);
    EXPECT_EQ(codec_->sent_values(0), 0U);
}

TEST_P(EveryCodec, keeps_finite_values_finite) {
    Random random(5);
    const std::vector<float> values = finite_floats(20000, random);
    std::vector<float> decoded(values.size());
    codec_->decode(codec_->encode(values), decoded);
    for (const float value : decoded) ASSERT_TRUE(std::isfinite(value));
}

TEST_P(EveryCodec, survives_any_bytes) {
    EXPECT_TRUE(rc::check([this](std::uint64_t seed, std::uint16_t count, std::uint16_t length) {
        Random random(seed);
        const bool right_size = random.below(4) != 0;
        Bytes encoded(right_size ? codec_->encoded_size(count) : length);
        for (auto& byte : encoded) byte = static_cast<std::uint8_t>(random.next());
        std::vector<float> values(count);
        try {
            codec_->decode(encoded, values);
            codec_->decode_scaled_add(encoded, 0.5F, values);
        } catch (const Error& error) {
            RC_ASSERT(error.kind() == ErrorKind::protocol_violation);
        }
    }));
}

TEST_P(EveryCodec, needs_no_alignment) {
    Random random(6);
    const std::vector<float> values = gradient_like(17001, random);
    const Bytes aligned = codec_->encode(values);
    Bytes shifted(aligned.size() + 1);
    codec_->encode(values, MutableByteView(shifted).subspan(1));
    EXPECT_TRUE(std::equal(aligned.begin(), aligned.end(), shifted.begin() + 1));
    std::vector<float> a(values.size()), b(values.size());
    codec_->decode(aligned, a);
    codec_->decode(ByteView(shifted).subspan(1), b);
    EXPECT_TRUE(same_bits(a, b));
}

}  // namespace
}  // namespace shoal::compress
