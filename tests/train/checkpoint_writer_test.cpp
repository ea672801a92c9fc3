// What a checkpoint says of itself is true, also when a cancellation hits an update.
#include "shoal/train/checkpoint_writer.h"

#include "train/real_swarm.h"

#include <asio/co_spawn.hpp>
#include <asio/executor_work_guard.hpp>
#include <asio/io_context.hpp>
#include <gtest/gtest.h>

#include "shoal/base/async.h"
#include "shoal/run/state_digest.h"
#include "shoal/train/settings.h"

namespace shoal::train {
namespace {

constexpr Step kStart{0}, kFirst{1};

class CheckpointWriterTest : public testing::Test {
  protected:
    static run::RunDefinition definition_in(const std::filesystem::path& folder) {
        run::RunDefinition definition = testing_support::convnet_run();
        definition.checkpoints.every = 100;
        definition.checkpoints.folder = folder / "checkpoints";
        return definition;
    }
    ~CheckpointWriterTest() override { std::filesystem::remove_all(folder_); }

    void run(awaitable<void> task) {
        std::exception_ptr failure;
        bool ended = false;
        asio::co_spawn(io_, std::move(task), [&](std::exception_ptr error) {
            failure = std::move(error);
            ended = true;
        });
        const auto waiting = asio::make_work_guard(io_);  // what runs on other threads comes back to it
        while (!ended) io_.run_one();
        if (failure) std::rethrow_exception(failure);
    }

    std::filesystem::path folder_ = testing_support::fresh_folder("checkpoint-writer");
    run::RunDefinition definition_ = definition_in(folder_);
    std::unique_ptr<ModelSource> source_ = make_model_source(definition_, KeyPair::generate().peer_id());
    std::unique_ptr<optim::Optimizer> optimizer_ =
        optim::make_optimizer(optimizer_settings(definition_), source_->layout());
    RealClock clock_;
    asio::io_context io_;
    optim::LocalCompute compute_{*source_, *optimizer_, schedule_settings(definition_), clock_, {}};
    CheckpointWriter writer_{definition_, {}, *source_, compute_, io_.get_executor(), Log()};
};

awaitable<void> be_stopped_in_an_update(optim::LocalCompute& compute, CheckpointWriter& writer) {
    const std::vector<float> average(compute.gradient_elements(), 0.01F);
    co_await compute.apply(kStart, average);
    const Fingerprint digest = co_await compute.digest();
    writer.on_step(Step{1}, 2.5, 2.5, 1, digest);
    co_await compute.apply(kFirst, average);  // nobody reports it
    co_await writer.finish();
}

TEST_F(CheckpointWriterTest, a_state_whose_update_nobody_reported_is_written_under_its_own_step_and_digest) {
    run(be_stopped_in_an_update(compute_, writer_));
    const run::CheckpointFolder folder(definition_.checkpoint_folder(), 3, Log());
    EXPECT_EQ(folder.steps(), std::vector<Step>{Step{2}});
    const run::Checkpoint checkpoint = folder.read(Step{2});
    EXPECT_EQ(checkpoint.info.digest, run::digest_of(checkpoint.state));
}

awaitable<void> report_a_digest_that_is_not_the_states(optim::LocalCompute& compute,
                                                       CheckpointWriter& writer) {
    const std::vector<float> average(compute.gradient_elements(), 0.01F);
    const Fingerprint before = co_await compute.digest();
    co_await compute.apply(kStart, average);
    writer.on_step(Step{1}, 2.5, 2.5, 1, before);
    co_await writer.finish();
}

TEST_F(CheckpointWriterTest, a_state_that_is_not_the_reported_one_is_an_error_and_not_written) {
    EXPECT_THROW(run(report_a_digest_that_is_not_the_states(compute_, writer_)), Error);
    EXPECT_FALSE(std::filesystem::exists(definition_.checkpoint_folder()));
}

}  // namespace
}  // namespace shoal::train
