// What a codec leaves out comes with the next contribution, once.
#include "shoal/collective/error_feedback_compute.h"

#include <asio/co_spawn.hpp>
#include <asio/io_context.hpp>
#include <cmath>
#include <gtest/gtest.h>
#include <limits>
#include <numeric>

#include "shoal/base/error.h"
#include "shoal/base/random.h"

namespace shoal::collective {
namespace {

/// Contributes what it is told to, and keeps what it is given.
class Scripted final : public Compute {
  public:
    explicit Scripted(std::vector<std::size_t> tensors) : tensors_(std::move(tensors)) {
        gradient.resize(std::accumulate(tensors_.begin(), tensors_.end(), std::size_t{0}));
    }
    std::size_t gradient_elements() const override { return gradient.size(); }
    std::vector<std::size_t> tensor_sizes() const override { return tensors_; }
    awaitable<MicroBatchResult> micro_batch() override { co_return MicroBatchResult(); }
    awaitable<std::span<const float>> contribution() override { co_return gradient; }
    void hold() override {}
    void release() override {}
    awaitable<bool> apply(Step, std::span<const float> average) override {
        applied.assign(average.begin(), average.end());
        co_return true;
    }
    void discard() override { ++discarded; }
    awaitable<Fingerprint> digest() override { co_return Fingerprint(); }
    awaitable<StatePointer> snapshot(Step) override { co_return nullptr; }
    awaitable<void> load(StatePointer) override { co_return; }
    void renumber(Step) override {}
    awaitable<double> held_out_loss() override { co_return 0; }

    std::vector<float> gradient, applied;
    int discarded = 0;

  private:
    std::vector<std::size_t> tensors_;
};

class ErrorFeedbackTest : public ::testing::Test {
  protected:
    template <typename T>
    T run(awaitable<T> task) {
        std::optional<T> result;
        asio::co_spawn(context_, std::move(task), [&](const std::exception_ptr& error, T value) {
            if (error) std::rethrow_exception(error);
            result = std::move(value);
        });
        context_.restart();
        context_.run();
        return std::move(*result);
    }
    std::vector<float> contribution(Compute& compute) {
        const auto span = run(compute.contribution());
        return {span.begin(), span.end()};
    }

    /// What the others receive: the vector is encoded in shares that end wherever cuts allow.
    static std::vector<float> received(const compress::VectorFormat& format, const Compute& compute,
                                       const std::vector<float>& sent, std::size_t share) {
        const auto tensors = compute.tensor_sizes();
        const compress::VectorCodec codec(format, format.pieces(tensors, sent.size()), sent.size());
        std::vector<float> values(sent.size());
        for (std::size_t begin = 0; begin < sent.size();) {
            std::size_t end = codec.cut_before(std::min(begin + share, sent.size()));
            if (end <= begin) end = std::min(begin + codec_granularity(format), sent.size());
            Bytes encoded(codec.encoded_size(begin, end - begin));
            codec.encode(begin, std::span(sent).subspan(begin, end - begin), encoded);
            codec.decode(begin, encoded, std::span(values).subspan(begin, end - begin));
            begin = end;
        }
        return values;
    }
    static std::size_t codec_granularity(const compress::VectorFormat& format) {
        return format.granularity();
    }

    asio::io_context context_;
};

TEST_F(ErrorFeedbackTest, WhatIsReceivedOverStepsAddsUpToAllGradientsButTheLastRemainder) {
    const compress::VectorFormat format("blockwise4", "fp16", 100);
    Scripted inner({70'000, 10, 131, 64});
    ErrorFeedbackCompute compute(inner, format);
    const std::size_t elements = inner.gradient.size();
    std::vector<double> meant(elements), got(elements);
    Random random(5);
    for (int step = 0; step < 20; ++step) {
        for (std::size_t i = 0; i < elements; ++i) {
            inner.gradient[i] = static_cast<float>(random.normal() * (i % 7 == 0 ? 1 : 0.01));
            meant[i] += inner.gradient[i];
        }
        const std::vector<float> sent = contribution(compute);
        const std::vector<float> arrived = received(format, inner, sent, 10'000);
        for (std::size_t i = 0; i < elements; ++i) got[i] += arrived[i];
        EXPECT_TRUE(run(compute.apply(Step{step}, arrived)));
        EXPECT_EQ(inner.applied, arrived);
    }
    double worst = 0, left = 0;
    for (std::size_t i = 0; i < elements; ++i) {
        worst = std::max(worst, std::abs(meant[i] - got[i] - compute.remainder()[i]));
        left = std::max(left, std::abs(static_cast<double>(compute.remainder()[i])));
    }
    EXPECT_LT(worst, 1e-4);
    EXPECT_GT(left, 0.01) << "the codec loses something, or this tests nothing";
}

TEST_F(ErrorFeedbackTest, AValueThatTheCodecAlwaysDropsArrivesAfterSomeSteps) {
    const compress::VectorFormat format("blockwise4");
    Scripted inner({64});
    ErrorFeedbackCompute compute(inner, format);
    inner.gradient.assign(64, 0.0F);
    inner.gradient[0] = 1;
    inner.gradient[1] = 0.02F;  // less than half of the smallest code
    double arrived = 0, alone = 0;
    for (int step = 0; step < 100; ++step) {
        alone += received(format, inner, inner.gradient, 64)[1];
        const std::vector<float> values = received(format, inner, contribution(compute), 64);
        arrived += values[1];
        run(compute.apply(Step{step}, values));
    }
    EXPECT_EQ(alone, 0);
    EXPECT_NEAR(arrived, 2, 0.1);
}

TEST_F(ErrorFeedbackTest, AContributionThatWasInNoRoundLeavesTheRemainderAsItWas) {
    const compress::VectorFormat format("blockwise4");
    Scripted inner({64});
    ErrorFeedbackCompute compute(inner, format);
    inner.gradient.assign(64, 0.03F);
    inner.gradient[0] = 1;
    run(compute.apply(Step{0}, received(format, inner, contribution(compute), 64)));
    const std::vector<float> before(compute.remainder().begin(), compute.remainder().end());
    const std::vector<float> once = contribution(compute);
    EXPECT_EQ(contribution(compute), once) << "a round that failed is tried again with the same";
    compute.discard();
    EXPECT_EQ(inner.discarded, 1);
    run(compute.apply(Step{1}, inner.gradient));  // a step of the others
    EXPECT_EQ(std::vector<float>(compute.remainder().begin(), compute.remainder().end()), before);
}

TEST_F(ErrorFeedbackTest, WhatIsNotFiniteDoesNotStay) {
    const compress::VectorFormat format("blockwise4");
    Scripted inner({130});
    ErrorFeedbackCompute compute(inner, format);
    inner.gradient.assign(130, 0.3F);
    inner.gradient[3] = std::numeric_limits<float>::infinity();
    inner.gradient[128] = std::numeric_limits<float>::quiet_NaN();
    run(compute.apply(Step{0}, contribution(compute)));
    for (const float value : compute.remainder()) EXPECT_TRUE(std::isfinite(value));
}

TEST_F(ErrorFeedbackTest, AnExactCodecLeavesNothing) {
    Scripted inner({1000});
    ErrorFeedbackCompute compute(inner, compress::VectorFormat("fp32"));
    inner.gradient.assign(1000, 0.1F);
    run(compute.apply(Step{0}, contribution(compute)));
    for (const float value : compute.remainder()) EXPECT_EQ(value, 0);
}

}  // namespace
}  // namespace shoal::collective
