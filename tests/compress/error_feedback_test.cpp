// What error feedback remembers, and what that is good for.
#include "shoal/compress/error_feedback.h"

#include "compress/float_inputs.h"

#include <array>
#include <functional>
#include <gtest/gtest.h>

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

std::vector<float> decoded(const ErrorFeedback& feedback, const Bytes& bytes) {
    std::vector<float> values(feedback.residual().size());
    feedback.codec().decode(bytes, values);
    return values;
}

TEST(ErrorFeedback, has_sent_all_but_the_residual_at_any_time) {
    for (const char* name : {"top_k:0.1", "sign", "blockwise4", "top_k:0.2+blockwise8", "power_sgd:1"}) {
        Random random(1);
        constexpr std::size_t kCount = 500;
        ErrorFeedback feedback(make_codec(name), kCount);
        std::vector<double> given(kCount), sent(kCount);
        for (std::uint64_t step = 0; step < 50; ++step) {
            const std::vector<float> values = gradient_like(kCount, random);
            const std::vector<float> message = decoded(feedback, feedback.encode(values, step));
            for (std::size_t i = 0; i < kCount; ++i) {
                given[i] += values[i];
                sent[i] += message[i];
                ASSERT_NEAR(given[i], sent[i] + feedback.residual()[i], 1e-4) << name << ", step " << step;
            }
        }
    }
}

TEST(ErrorFeedback, is_exact_where_floats_are) {
    // Whole numbers: no sum is rounded.
    Random random(2);
    ErrorFeedback feedback(make_codec("top_k:0.25"), 8);
    std::vector<float> given(8), sent(8);
    for (int step = 0; step < 100; ++step) {
        std::vector<float> values(8);
        for (float& value : values) value = static_cast<float>(random.below(21)) - 10;
        const std::vector<float> message = decoded(feedback, feedback.encode(values));
        for (std::size_t i = 0; i < 8; ++i) {
            given[i] += values[i];
            sent[i] += message[i];
            ASSERT_EQ(given[i], sent[i] + feedback.residual()[i]);
        }
    }
}

/// Gradient descent on the mean of three functions <a_m, x>^2 + |x|^2 / 4 in three dimensions, a_m = (-3, 2,
/// 2) and its two rotations, each device sending the largest of the three numbers of its gradient: the
/// example of Beznosikov et al. ("On Biased Compression for Distributed Learning", example 1) where the naive
/// method diverges from (t, t, t), however small the step.
double distance_after(int steps, bool with_feedback) {
    constexpr std::array<std::array<float, 3>, 3> kDirections = {{{-3, 2, 2}, {2, -3, 2}, {2, 2, -3}}};
    constexpr float kStep = 0.02F;
    const std::shared_ptr<const Codec> codec = make_codec("top_k:0.34");
    std::vector<ErrorFeedback> feedback(3, ErrorFeedback(codec, 3));
    std::array<double, 3> x = {1, 1, 1};
    for (int step = 0; step < steps; ++step) {
        std::array<double, 3> sum{};
        for (std::size_t device = 0; device < 3; ++device) {
            double product = 0;
            for (std::size_t i = 0; i < 3; ++i) product += kDirections[device][i] * x[i];
            std::vector<float> gradient(3), message(3);
            for (std::size_t i = 0; i < 3; ++i)
                gradient[i] = kStep * static_cast<float>(2 * product * kDirections[device][i] + 0.5 * x[i]);
            codec->decode(with_feedback ? feedback[device].encode(gradient) : codec->encode(gradient),
                          message);
            for (std::size_t i = 0; i < 3; ++i) sum[i] += message[i];
        }
        for (std::size_t i = 0; i < 3; ++i) x[i] -= sum[i] / 3;
    }
    return std::sqrt(x[0] * x[0] + x[1] * x[1] + x[2] * x[2]);
}

TEST(ErrorFeedback, converges_where_the_largest_value_alone_diverges) {
    EXPECT_EQ(make_codec("top_k:0.34")->sent_values(3), 1U);
    EXPECT_GT(distance_after(400, false), 1e3);
    EXPECT_LT(distance_after(4000, true), 1e-3);
}

TEST(ErrorFeedback, sends_again_what_was_not_delivered) {
    ErrorFeedback feedback(make_codec("top_k:0.5"), 4);
    const std::vector<float> values = {8, 1, -4, 2};
    const Bytes lost = feedback.encode(values);
    EXPECT_EQ(decoded(feedback, lost), (std::vector<float>{8, 0, -4, 0}));
    const Bytes arrived = feedback.encode(std::vector<float>(4, 0.0F));
    EXPECT_EQ(decoded(feedback, arrived), (std::vector<float>{0, 1, 0, 2}));
    feedback.not_delivered(lost);
    EXPECT_EQ(decoded(feedback, feedback.encode(std::vector<float>(4, 0.0F))),
              (std::vector<float>{8, 0, -4, 0}));
    for (const float left : feedback.residual()) EXPECT_EQ(left, 0);
    EXPECT_EQ(kind_of_error([&] { feedback.not_delivered(Bytes(3)); }), ErrorKind::protocol_violation);
}

TEST(ErrorFeedback, sends_what_is_not_finite_and_forgets_it) {
    for (const char* name : {"top_k:0.5", "blockwise8", "sign", "power_sgd:1"}) {
        ErrorFeedback feedback(make_codec(name), 64);
        std::vector<float> values(64, 1.0F);
        values[3] = from_bits(0x7FC00000);
        values[4] = from_bits(0xFF800000);
        const std::vector<float> message = decoded(feedback, feedback.encode(values));
        EXPECT_FALSE(std::isfinite(message[3])) << name;
        EXPECT_FALSE(std::isfinite(message[4])) << name;
        EXPECT_EQ(feedback.residual()[3], 0);
        EXPECT_EQ(feedback.residual()[4], 0);
        for (std::size_t i = 0; i < 64; ++i) {
            ASSERT_TRUE(std::isfinite(feedback.residual()[i]));
            if (!std::isfinite(message[i]) && i != 3 && i != 4) {
                EXPECT_EQ(feedback.residual()[i], 1);
            }
        }
    }
}

TEST(ErrorFeedback, continues_from_a_checkpoint_as_if_nothing_had_happened) {
    Random random(3);
    ErrorFeedback first(make_codec("top_k:0.1"), 100);
    first.encode(gradient_like(100, random));
    const std::vector<float> saved(first.residual().begin(), first.residual().end());
    ErrorFeedback second(make_codec("top_k:0.1"), 100);
    second.restore(saved);
    const std::vector<float> next = gradient_like(100, random);
    EXPECT_EQ(second.encode(next), first.encode(next));
    second.reset();
    EXPECT_EQ(second.encode(next), make_codec("top_k:0.1")->encode(next));

    EXPECT_EQ(kind_of_error([&] { second.restore(std::vector<float>(99)); }), ErrorKind::invalid_argument);
    EXPECT_EQ(kind_of_error([&] { second.restore(std::vector<float>(100, from_bits(0x7FC00000))); }),
              ErrorKind::invalid_argument);
    EXPECT_EQ(kind_of_error([&] { second.encode(std::vector<float>(99)); }), ErrorKind::invalid_argument);
}

TEST(ErrorFeedback, refuses_a_codec_that_is_not_contractive) {
    for (const char* name : {"rand_k:0.1", "natural", "qsgd:4", "perm_k:0/4", "top_k:0.1+natural"})
        EXPECT_EQ(kind_of_error([&] { ErrorFeedback(make_codec(name), 100); }), ErrorKind::invalid_argument);
}

/// A matrix of low rank and some noise.
std::vector<float> low_rank(std::size_t rows, std::size_t columns, std::size_t rank, double noise,
                            Random& random) {
    std::vector<float> values(rows * columns);
    for (float& value : values) value = static_cast<float>(noise * random.normal());
    for (std::size_t r = 0; r < rank; ++r) {
        std::vector<double> left(rows), right(columns);
        for (double& number : left) number = random.normal();
        for (double& number : right) number = random.normal();
        for (std::size_t i = 0; i < rows; ++i)
            for (std::size_t j = 0; j < columns; ++j)
                values[i * columns + j] += static_cast<float>(left[i] * right[j]);
    }
    return values;
}

double share_lost(std::span<const float> values, std::span<const float> kept) {
    double lost = 0, whole = 0;
    for (std::size_t i = 0; i < values.size(); ++i) {
        const double difference = static_cast<double>(values[i]) - static_cast<double>(kept[i]);
        lost += difference * difference;
        whole += static_cast<double>(values[i]) * static_cast<double>(values[i]);
    }
    return lost / whole;
}

TEST(PowerSgd, keeps_a_matrix_of_its_rank) {
    Random random(4);
    const std::vector<float> values = low_rank(60, 40, 3, 0, random);
    const auto codec = make_codec("power_sgd:3@60x40");
    EXPECT_EQ(codec->encoded_size(2400), 4 * (1 + 3 * (60 + 40)));
    std::vector<float> kept(values.size());
    codec->decode(codec->encode(values), kept);
    EXPECT_LT(share_lost(values, kept), 1e-9);
}

TEST(PowerSgd, chooses_a_shape_that_is_nearly_square_and_sends_short_vectors_as_they_are) {
    const auto codec = make_codec("power_sgd:2");
    EXPECT_EQ(codec->encoded_size(10000), 4 * (1 + 2 * (100 + 100)));
    EXPECT_EQ(codec->encoded_size(10001), 4 * (1 + 2 * (101 + 100)));
    EXPECT_EQ(codec->encoded_size(9), 36U);
    EXPECT_DOUBLE_EQ(*codec->guarantee(9).contraction, 1);
    EXPECT_THROW(make_codec("power_sgd:2@10x10")->encoded_size(99), Error);
}

TEST(PowerSgd, with_a_warm_start_comes_close_to_the_best_of_its_rank) {
    Random random(5);
    const std::vector<float> values = low_rank(50, 50, 2, 0.3, random);
    PowerSgd sender("power_sgd:2@50x50", values.size());
    std::vector<float> kept(values.size());
    std::vector<double> lost;
    for (std::uint64_t step = 0; step < 5; ++step) {
        sender.codec()->decode(sender.encode(values, step), kept);
        lost.push_back(share_lost(values, kept));
    }
    sender.codec()->decode(sender.codec()->encode(values, 0), kept);
    EXPECT_DOUBLE_EQ(lost.front(), share_lost(values, kept)) << "the first start is the codec's own";
    EXPECT_LT(lost.back(), lost.front());
    EXPECT_NEAR(lost.back(), lost[3], 1e-3 * lost[3]) << "five iterations find the two directions";
    sender.reset();
    sender.codec()->decode(sender.encode(values, 0), kept);
    EXPECT_DOUBLE_EQ(share_lost(values, kept), lost.front());
}

TEST(PowerSgd, continues_from_a_checkpoint_and_survives_zeros_and_nan) {
    Random random(6);
    const std::vector<float> values = gradient_like(2500, random);
    PowerSgd first("power_sgd:2", 2500), second("power_sgd:2", 2500);
    first.encode(values, 1);
    second.restore(std::vector<float>(first.state().begin(), first.state().end()));
    const std::vector<float> next = gradient_like(2500, random);
    EXPECT_EQ(first.encode(next, 2), second.encode(next, 2));

    const std::vector<float> before(first.state().begin(), first.state().end());
    std::vector<float> bad = next;
    bad[77] = from_bits(0x7F800000);
    std::vector<float> kept(2500);
    first.codec()->decode(first.encode(bad, 3), kept);
    EXPECT_TRUE(std::isnan(kept[0]));
    EXPECT_EQ(std::vector<float>(first.state().begin(), first.state().end()), before);

    first.codec()->decode(first.encode(std::vector<float>(2500, 0.0F), 4), kept);
    EXPECT_EQ(kept, std::vector<float>(2500, 0.0F));
    first.codec()->decode(first.encode(next, 5), kept);
    EXPECT_LT(share_lost(next, kept), 1);

    EXPECT_EQ(kind_of_error([&] { first.restore(std::vector<float>(3)); }), ErrorKind::invalid_argument);
    EXPECT_EQ(kind_of_error([&] { PowerSgd("top_k:0.1", 100); }), ErrorKind::invalid_argument);
    EXPECT_EQ(kind_of_error([&] { first.encode(std::vector<float>(3), 0); }), ErrorKind::invalid_argument);
}

TEST(PowerSgd, feeds_errors_back_around_a_warm_start) {
    Random random(7);
    const std::vector<float> values = low_rank(40, 40, 5, 0.1, random);
    // The same vector again and again: what has arrived in the mean approaches it.
    ErrorFeedback feedback(std::make_shared<PowerSgd>("power_sgd:1", values.size()));
    std::vector<double> sum(values.size());
    constexpr int kSteps = 100;
    for (std::uint64_t step = 0; step < kSteps; ++step) {
        const std::vector<float> message = decoded(feedback, feedback.encode(values, step));
        for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += message[i];
    }
    std::vector<float> mean(values.size());
    for (std::size_t i = 0; i < sum.size(); ++i) mean[i] = static_cast<float>(sum[i] / kSteps);
    EXPECT_LT(share_lost(values, mean), 0.05);
}

}  // namespace
}  // namespace shoal::compress
