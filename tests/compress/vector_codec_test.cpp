// A vector whose tensors travel in two codecs.
#include "shoal/compress/vector_codec.h"

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

std::size_t sum_of(const std::vector<std::size_t>& numbers) {
    std::size_t sum = 0;
    for (const std::size_t number : numbers) sum += number;
    return sum;
}

VectorCodec codec_for(const VectorFormat& format, const std::vector<std::size_t>& tensors) {
    return VectorCodec(format, format.pieces(tensors, sum_of(tensors)), sum_of(tensors));
}

/// Tensors as a model has them: many short ones, some long, some empty.
std::vector<std::size_t> any_tensors(Random& random) {
    std::vector<std::size_t> tensors(1 + random.below(12));
    for (std::size_t& tensor : tensors)
        tensor = random.below(8) == 0 ? 0 : random.below(random.below(2) == 0 ? 100 : 30000);
    tensors.push_back(1 + random.below(5000));
    return tensors;
}

VectorFormat any_format(Random& random) {
    const auto names = codec_names();
    return VectorFormat(names[random.below(names.size())], names[random.below(names.size())],
                        random.below(3000));
}

/// The definition: each run of tensors of one kind encoded by itself.
std::vector<float> decoded_tensor_by_tensor(const std::string& codec, const std::string& small_codec,
                                            std::size_t small_below, const std::vector<std::size_t>& tensors,
                                            std::span<const float> values, std::size_t* bytes) {
    std::vector<float> result;
    *bytes = 0;
    for (std::size_t i = 0, at = 0; i < tensors.size();) {
        const bool small = tensors[i] < small_below;
        std::size_t count = 0;
        for (; i < tensors.size() && (tensors[i] == 0 || (tensors[i] < small_below) == small); ++i)
            count += tensors[i];
        const auto one = make_codec(small ? small_codec : codec);
        const Bytes encoded = one->encode(values.subspan(at, count));
        *bytes += encoded.size();
        result.resize(at + count);
        one->decode(encoded, std::span(result).subspan(at));
        at += count;
    }
    return result;
}

TEST(VectorFormat, names_what_it_does) {
    EXPECT_EQ(VectorFormat("blockwise8").name(), "blockwise8");
    EXPECT_EQ(VectorFormat("blockwise8", "fp16", 65536).name(), "blockwise8, fp16 below 65536");
    EXPECT_TRUE(VectorFormat("blockwise8", "fp16", 2).is_mixed());
    for (const VectorFormat& format : {VectorFormat("fp16", "", 100), VectorFormat("fp16", "fp16", 100),
                                       VectorFormat("fp16", "fp32", 0), VectorFormat("fp16", "fp32", 1)}) {
        EXPECT_EQ(format.name(), "fp16");
        EXPECT_FALSE(format.is_mixed());
        EXPECT_TRUE(format.pieces({}, 10).empty());
    }
    EXPECT_EQ(kind_of_error([] { VectorFormat("fp16", "fp17", 10); }), ErrorKind::invalid_argument);
    EXPECT_EQ(kind_of_error([] { VectorFormat("fp17"); }), ErrorKind::invalid_argument);
}

TEST(VectorFormat, joins_neighbours_of_the_same_kind) {
    const VectorFormat format("blockwise8", "fp16", 100);
    const auto pieces = [&](std::vector<std::size_t> tensors) {
        return format.pieces(tensors, sum_of(tensors));
    };
    EXPECT_EQ(pieces({99, 100}), (Pieces{99, 100}));
    EXPECT_EQ(pieces({100, 99}), (Pieces{0, 100, 99}));
    EXPECT_EQ(pieces({5, 6, 1000, 200, 0, 300, 1, 2}), (Pieces{11, 1500, 3}));
    EXPECT_EQ(pieces({7}), (Pieces{7}));
    EXPECT_EQ(format.pieces({}, 7), (Pieces{7}));
    EXPECT_EQ(format.pieces({}, 700), (Pieces{0, 700}));
}

TEST(VectorFormat, refuses_tensors_that_do_not_add_up_and_too_many_pieces) {
    const VectorFormat format("blockwise8", "fp16", 100);
    const std::vector<std::size_t> tensors = {10, 20};
    EXPECT_EQ(kind_of_error([&] { format.pieces(tensors, 31); }), ErrorKind::invalid_argument);
    std::vector<std::size_t> many;
    for (std::size_t i = 0; i < kMaximumPieces; ++i) many.push_back(i % 2 == 0 ? 1 : 100);
    EXPECT_EQ(format.pieces(many, sum_of(many)).size(), kMaximumPieces);
    many.push_back(1);
    EXPECT_EQ(kind_of_error([&] { format.pieces(many, sum_of(many)); }), ErrorKind::invalid_argument);
}

TEST(VectorFormat, believes_only_pieces_that_cover_the_vector) {
    const VectorFormat mixed("blockwise8", "fp16", 100), plain("fp16");
    EXPECT_TRUE(mixed.fits(Pieces{0, 10}, 10));
    EXPECT_TRUE(mixed.fits(Pieces{4, 6}, 10));
    EXPECT_TRUE(mixed.fits(Pieces(kMaximumPieces, 1), kMaximumPieces));
    EXPECT_FALSE(mixed.fits(Pieces(kMaximumPieces + 1, 1), kMaximumPieces + 1));
    EXPECT_FALSE(mixed.fits(Pieces{}, 10));
    EXPECT_FALSE(mixed.fits(Pieces{4, 5}, 10));
    EXPECT_FALSE(mixed.fits(Pieces{4, 7}, 10));
    EXPECT_FALSE(mixed.fits(Pieces{4, 0, 6}, 10));
    EXPECT_FALSE(mixed.fits(Pieces{0xFFFFFFFF, 11}, 10));
    EXPECT_TRUE(plain.fits(Pieces{}, 10));
    EXPECT_FALSE(plain.fits(Pieces{10}, 10));
    EXPECT_EQ(kind_of_error([&] { VectorCodec(mixed, Pieces{4, 5}, 10); }), ErrorKind::invalid_argument);
}

TEST(VectorCodec, sends_each_tensor_in_its_codec) {
    EXPECT_TRUE(rc::check([](std::uint64_t seed) {
        Random random(seed);
        const auto names = codec_names();
        const std::string large(names[random.below(names.size())]), small(names[random.below(names.size())]);
        const std::size_t below = 2 + random.below(3000);
        const std::vector<std::size_t> tensors = any_tensors(random);
        const VectorCodec codec = codec_for(VectorFormat(large, small, below), tensors);
        const std::vector<float> values = gradient_like(codec.elements(), random);
        std::size_t bytes = 0;
        std::vector<float> expected;
        if (large == small) {
            const auto one = make_codec(large);
            expected.resize(values.size());
            one->decode(one->encode(values), expected);
            bytes = one->encoded_size(values.size());
        } else {
            expected = decoded_tensor_by_tensor(large, small, below, tensors, values, &bytes);
        }
        RC_ASSERT(codec.encoded_size(0, values.size()) == bytes);
        Bytes encoded(bytes);
        codec.encode(0, values, encoded);
        std::vector<float> decoded(values.size()), sum(values.size(), 0.5F), expected_sum(sum);
        codec.decode(0, encoded, decoded);
        RC_ASSERT(same_bits(decoded, expected));
        codec.decode_scaled_add(0, encoded, 0.3F, sum);
        for (std::size_t i = 0; i < sum.size(); ++i) {
            const volatile float product = 0.3F * decoded[i];
            expected_sum[i] += product;
        }
        RC_ASSERT(same_bits(sum, expected_sum));
    }));
}

TEST(VectorCodec, gives_the_same_values_however_it_is_cut_at_cuts) {
    EXPECT_TRUE(rc::check([](std::uint64_t seed) {
        Random random(seed);
        const VectorFormat format = any_format(random);
        const std::vector<std::size_t> tensors = any_tensors(random);
        const VectorCodec codec = codec_for(format, tensors);
        const std::vector<float> values = gradient_like(codec.elements(), random);
        std::vector<float> whole(values.size()), parts(values.size());
        Bytes encoded(codec.encoded_size(0, values.size()));
        codec.encode(0, values, encoded);
        codec.decode(0, encoded, whole);
        const std::size_t step = format.granularity() * (1 + random.below(4));
        std::size_t bytes = 0;
        for (std::size_t place = 0, begin = 0; begin < values.size();) {
            place += step;
            const std::size_t end = codec.cut_before(place);
            RC_ASSERT(end > begin && end <= place);
            RC_ASSERT(codec.cut_before(end) == end);
            const std::size_t count = end - begin, size = codec.encoded_size(begin, count);
            RC_ASSERT(size <= format.maximum_encoded_size(step));
            bytes += size;
            encoded.resize(size);
            codec.encode(begin, std::span(values).subspan(begin, count), encoded);
            codec.decode(begin, encoded, std::span(parts).subspan(begin, count));
            begin = end;
        }
        RC_ASSERT(bytes == codec.encoded_size(0, values.size()));
        RC_ASSERT(same_bits(whole, parts));
    }));
}

TEST(VectorCodec, cuts_at_tensors_and_at_blocks_counted_from_them) {
    const VectorCodec codec = codec_for(VectorFormat("blockwise8", "fp16", 100), {50, 10000, 7, 5000});
    for (const std::size_t place : {0, 1, 49, 50}) EXPECT_EQ(codec.cut_before(place), place);
    EXPECT_EQ(codec.cut_before(51), 50U);
    EXPECT_EQ(codec.cut_before(50 + 4095), 50U);
    EXPECT_EQ(codec.cut_before(50 + 4096), 50U + 4096U);
    EXPECT_EQ(codec.cut_before(10049), 50U + 8192U);
    for (const std::size_t place : {10050, 10053, 10057}) EXPECT_EQ(codec.cut_before(place), place);
    EXPECT_EQ(codec.cut_before(15056), 10057U + 4096U);
    EXPECT_EQ(codec.cut_before(15057), 15057U);
    EXPECT_EQ(codec.cut_before(~std::size_t{0}), 15057U);
    EXPECT_EQ(codec.encoded_size(0, 50), 100U);
    EXPECT_EQ(codec.encoded_size(50 + 4096, 5904 + 7 + 4096), (5904U + 2 * 4U) + 14U + (4096U + 4U));
    EXPECT_EQ(codec.encoded_size(15057, 0), 0U);
    EXPECT_FALSE(codec.is_exact());
}

TEST(VectorCodec, is_exact_where_all_is_fp32) {
    EXPECT_TRUE(VectorCodec(VectorFormat("fp32"), {}, 10).is_exact());
    EXPECT_FALSE(VectorCodec(VectorFormat("fp32", "fp16", 5), Pieces{0, 10}, 10).is_exact());
    EXPECT_FALSE(VectorCodec(VectorFormat("fp16"), {}, 10).is_exact());
    EXPECT_EQ(VectorCodec(VectorFormat("fp16"), {}, 10).cut_before(3), 3U);
    EXPECT_EQ(VectorCodec(VectorFormat("fp16"), {}, 0).elements(), 0U);
}

TEST(VectorCodec, refuses_wrong_sizes_and_what_its_codecs_refuse) {
    const VectorCodec codec = codec_for(VectorFormat("blockwise8", "fp16", 100), {50, 1000});
    std::vector<float> values(1050, 1.0F);
    const std::size_t size = codec.encoded_size(0, 1050);
    for (const std::size_t wrong : {std::size_t{0}, size - 1, size + 1}) {
        Bytes encoded(wrong);
        EXPECT_EQ(kind_of_error([&] { codec.encode(0, values, encoded); }), ErrorKind::invalid_argument);
        EXPECT_EQ(kind_of_error([&] { codec.decode(0, encoded, values); }), ErrorKind::protocol_violation);
        EXPECT_EQ(kind_of_error([&] { codec.decode_scaled_add(0, encoded, 1, values); }),
                  ErrorKind::protocol_violation);
    }
    Bytes encoded(size);
    codec.encode(0, values, encoded);
    encoded[100 + 3] = 0xFF;  // the sign of the scale
    EXPECT_EQ(kind_of_error([&] { codec.decode(0, encoded, values); }), ErrorKind::protocol_violation);
}

TEST(VectorFormat, refuses_codecs_whose_vectors_cannot_be_cut) {
    EXPECT_EQ(VectorFormat("sign").granularity(), 1024U);
    for (const std::string_view name : codec_examples()) {
        if (make_codec(name)->granularity() != kUncuttable) continue;
        EXPECT_EQ(kind_of_error([&] { VectorFormat{name}; }), ErrorKind::invalid_argument);
        EXPECT_EQ(kind_of_error([&] { VectorFormat("fp16", name, 100); }), ErrorKind::invalid_argument);
    }
}

}  // namespace
}  // namespace shoal::compress
