// The work of a step on its own thread: what is dropped, when it gives up, and which state is held.
#include "shoal/optim/local_compute.h"

#include <asio/co_spawn.hpp>
#include <asio/executor_work_guard.hpp>
#include <asio/io_context.hpp>
#include <cmath>
#include <gtest/gtest.h>
#include <limits>
#include <optional>

#include "shoal/base/error.h"
#include "shoal/run/state_digest.h"

namespace shoal::optim {
namespace {

/// Two parameters in two tensors; the losses are those that the test gives, one after the other, and so are
/// all numbers of the gradients.
class GivenLosses final : public GradientSource {
  public:
    const ParameterLayout& layout() const override { return layout_; }
    std::span<float> parameters() override { return parameters_; }
    std::span<const float> gradient() override { return gradient_; }
    MicroBatchLoss micro_batch() override {
        ++position_;
        const double loss = losses.at(next_++ % losses.size());
        gradient_.assign(2, static_cast<float>(loss));
        return {Samples{1}, loss};
    }
    double held_out_loss() override { return 0; }
    std::uint64_t position() const override { return position_; }
    void seek(std::uint64_t position) override { position_ = position; }

    std::vector<double> losses = {1.0};

  private:
    ParameterLayout layout_{{ParameterTensor{"weight", {1}, true}, ParameterTensor{"bias", {1}, true}}};
    std::vector<float> parameters_ = {1, 2}, gradient_ = {0.5F, 0.5F};
    std::size_t next_ = 0;
    std::uint64_t position_ = 0;
};

class LocalComputeTest : public testing::Test {
  protected:
    static LocalComputeSettings settings() {
        LocalComputeSettings s;
        s.niceness = 0;
        s.maximum_dropped = 5;
        s.longest_pause = Duration::zero();
        return s;
    }
    static OptimizerSettings sgd() {
        OptimizerSettings s;
        s.name = "sgd";
        return s;
    }
    static ScheduleSettings schedule() {
        ScheduleSettings s;
        s.kind = "constant";
        s.learning_rate = 0.1;
        s.total_steps = 100;
        return s;
    }
    template <typename T>
    T run(awaitable<T> task) {
        std::exception_ptr failure;
        std::optional<T> result;
        bool ended = false;
        asio::co_spawn(context_, std::move(task), [&](std::exception_ptr error, T value) {
            failure = std::move(error);
            if (!failure) result = std::move(value);
            ended = true;
        });
        const auto waiting = asio::make_work_guard(context_);  // the compute thread comes back to it
        context_.restart();
        while (!ended) context_.run_one();
        if (failure) std::rethrow_exception(failure);
        return std::move(*result);
    }

    static awaitable<bool> load_and_answer(LocalCompute& compute, collective::StatePointer state) {
        co_await compute.load(std::move(state));
        co_return true;
    }

    asio::io_context
        context_;  // outlives the compute thread, which lets go of it a moment after it has answered
    GivenLosses source_;
    std::unique_ptr<Optimizer> optimizer_ = make_optimizer(sgd(), source_.layout());
    RealClock clock_;
    LocalCompute compute_{source_, *optimizer_, schedule(), clock_, settings()};
};

TEST_F(LocalComputeTest, NamesTheTensorsThatLieInTheGradient) {
    EXPECT_EQ(compute_.tensor_sizes(), (std::vector<std::size_t>{1, 1}));
}

TEST_F(LocalComputeTest, GivesUpWhenAsManyMicroBatchesAsAllowedWereNotFiniteInARow) {
    source_.losses = {std::nan("")};
    for (int i = 0; i < 4; ++i) EXPECT_TRUE(run(compute_.micro_batch()).dropped);
    try {
        run(compute_.micro_batch());
        FAIL();
    } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::bad_input);
        EXPECT_EQ(std::string(error.what()).substr(0, 25), "5 micro-batches in a row ");
    }
}

TEST_F(LocalComputeTest, GoesOnAsLongAsAGoodMicroBatchComesInBetween) {
    const double bad = std::nan("");
    source_.losses = {bad, bad, bad, bad, 1.0};
    int dropped = 0;
    for (int i = 0; i < 50; ++i) dropped += run(compute_.micro_batch()).dropped ? 1 : 0;
    EXPECT_EQ(dropped, 40);
}

TEST_F(LocalComputeTest, TheHeldStateIsOfTheStepThatItsParametersReached) {
    const std::vector<float> average = {1, 1}, broken = {1, std::nanf("")};
    EXPECT_EQ(run(compute_.held_state()).state->step, Step{0});
    EXPECT_TRUE(run(compute_.apply(Step{0}, average)));
    const auto first = run(compute_.held_state()).state;
    EXPECT_EQ(first->step, Step{1});
    EXPECT_EQ(run::digest_of(*first), run(compute_.digest()));
    EXPECT_FALSE(run(compute_.apply(Step{1}, broken))) << "all peers count the step, nobody applies it";
    const auto second = run(compute_.held_state()).state;
    EXPECT_EQ(second->step, Step{2});
    EXPECT_EQ(run::digest_of(*second), run::digest_of(*first));
}

TEST_F(LocalComputeTest, TheHeldStateComesWithThePlaceInTheDataAtWhichItWasReached) {
    const std::vector<float> average = {1, 1};
    for (int i = 0; i < 3; ++i) run(compute_.micro_batch());
    EXPECT_EQ(run(compute_.held_state()).position, 0U);
    EXPECT_TRUE(run(compute_.apply(Step{0}, average)));
    for (int i = 0; i < 2; ++i) run(compute_.micro_batch());
    EXPECT_EQ(run(compute_.held_state()).position, 3U) << "the last two are in no state yet";
    EXPECT_TRUE(run(compute_.apply(Step{1}, average)));
    EXPECT_EQ(run(compute_.held_state()).position, 5U);
}

TEST_F(LocalComputeTest, WhatIsComputedAfterAHoldCountsForTheStepAfterTheNext) {
    source_.losses = {1, 3, 10, 20};
    const std::vector<float> average = {1, 1};
    for (int i = 0; i < 2; ++i) run(compute_.micro_batch());
    const std::span<const float> mine = run(compute_.contribution());
    compute_.hold();
    for (int i = 0; i < 2; ++i) run(compute_.micro_batch());
    EXPECT_EQ(mine[0], 2) << "valid beyond the micro-batches beside it";
    EXPECT_TRUE(run(compute_.apply(Step{0}, average)));
    EXPECT_EQ(run(compute_.held_state()).position, 2U) << "the last two are in no state yet";
    EXPECT_EQ(run(compute_.contribution())[1], 15);
    run(compute_.micro_batch());  // 1, and not held any more
    EXPECT_FLOAT_EQ(run(compute_.contribution())[1], 31.0F / 3);
}

TEST_F(LocalComputeTest, AfterAReleaseAllCountsForTheNextStep) {
    source_.losses = {1, 3, 11};
    run(compute_.micro_batch());
    for (int round = 0; round < 2; ++round) {
        compute_.hold();
        run(compute_.micro_batch());
        compute_.release();
    }
    EXPECT_EQ(run(compute_.contribution())[0], 5);
    compute_.hold();
    run(compute_.micro_batch());
    compute_.discard();
    EXPECT_EQ(run(compute_.contribution())[0], 0);
    run(compute_.micro_batch());
    EXPECT_EQ(run(compute_.contribution())[0], 3);
}

class WithLocalUpdates : public LocalComputeTest {
  protected:
    static LocalComputeSettings with_local_updates(double outer_rate, double outer_momentum) {
        LocalComputeSettings s = settings();
        s.local_updates.batch_size = 2;
        s.local_updates.outer_learning_rate = outer_rate;
        s.local_updates.outer_momentum = outer_momentum;
        return s;
    }
    static std::unique_ptr<Optimizer> plain_sgd(const ParameterLayout& layout) {
        OptimizerSettings s = sgd();
        s.momentum = s.weight_decay = 0;
        return make_optimizer(s, layout);
    }
    float parameter(int index) { return source_.parameters()[static_cast<std::size_t>(index)]; }

    std::unique_ptr<Optimizer> inner_ = plain_sgd(source_.layout());
};

TEST_F(WithLocalUpdates, APeerMovesByItselfAndContributesHowFarItHasCome) {
    LocalCompute compute(source_, *inner_, schedule(), clock_, with_local_updates(1, 0));
    source_.losses = {1, 3, 5};
    const Fingerprint before = run(compute.digest());
    for (int i = 0; i < 2; ++i) run(compute.micro_batch());
    EXPECT_FLOAT_EQ(parameter(0), 1 - 0.1F * 2) << "one step along the mean of two samples";
    run(compute.micro_batch());
    const std::span<const float> mine = run(compute.contribution());
    EXPECT_FLOAT_EQ(parameter(0), 1 - 0.1F * 2 - 0.1F * 5) << "the last sample is a step, too";
    EXPECT_FLOAT_EQ(mine[0], 0.7F);
    EXPECT_EQ(run(compute.digest()), before) << "what all hold is where it was";
    EXPECT_EQ(run(compute.held_state()).state->sections[0].values, (std::vector<float>{1, 2}));
    const std::vector<float> average = {0.5F, 0.25F};
    EXPECT_TRUE(run(compute.apply(Step{0}, average)));
    EXPECT_EQ(parameter(0), 0.5F) << "everybody goes on from the global parameters";
    EXPECT_EQ(parameter(1), 1.75F);
    EXPECT_EQ(run(compute.held_state()).state->sections[0].values, (std::vector<float>{0.5F, 1.75F}));
}

TEST_F(WithLocalUpdates, TheOuterStepHasNesterovsMomentumWhichIsPartOfTheState) {
    LocalCompute compute(source_, *inner_, schedule(), clock_, with_local_updates(0.5, 0.5));
    const std::vector<float> average = {1, 1};
    EXPECT_TRUE(run(compute.apply(Step{0}, average)));
    EXPECT_FLOAT_EQ(parameter(0), 1 - 0.5F * (1 + 0.5F * 1));
    EXPECT_TRUE(run(compute.apply(Step{1}, average)));
    EXPECT_FLOAT_EQ(parameter(0), 0.25F - 0.5F * (1 + 0.5F * 1.5F));
    const auto state = run(compute.held_state()).state;
    ASSERT_EQ(state->sections.size(), 2U);
    EXPECT_EQ(state->sections[1].values, (std::vector<float>{1.5F, 1.5F}));
}

TEST_F(WithLocalUpdates, AnAverageThatIsNotFiniteLeavesTheGlobalParameters) {
    LocalCompute compute(source_, *inner_, schedule(), clock_, with_local_updates(1, 0.9));
    for (int i = 0; i < 2; ++i) run(compute.micro_batch());
    const Fingerprint before = run(compute.digest());
    EXPECT_FALSE(run(compute.apply(Step{0}, std::vector<float>{1, std::nanf("")})));
    EXPECT_FALSE(run(compute.apply(Step{1}, std::vector<float>{1, std::numeric_limits<float>::max()})))
        << "the step overflows";
    EXPECT_EQ(run(compute.digest()), before);
    EXPECT_EQ(parameter(0), 1);
}

TEST_F(WithLocalUpdates, AStateThatIsLoadedOrADiscardReplacesItsOwnWay) {
    LocalCompute compute(source_, *inner_, schedule(), clock_, with_local_updates(1, 0.9));
    const auto state = run(compute.held_state()).state;
    for (int i = 0; i < 2; ++i) run(compute.micro_batch());
    EXPECT_NE(parameter(0), 1);
    compute.discard();
    EXPECT_EQ(run(compute.contribution())[0], 0);
    EXPECT_EQ(parameter(0), 1);
    for (int i = 0; i < 2; ++i) run(compute.micro_batch());
    run(load_and_answer(compute, state));
    EXPECT_EQ(parameter(0), 1);
}

}  // namespace
}  // namespace shoal::optim
