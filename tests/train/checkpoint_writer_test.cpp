// What a checkpoint says of itself is true, also when a cancellation hits an update.
#include "shoal/train/checkpoint_writer.h"

#include "train/real_swarm.h"

#include <algorithm>
#include <asio/co_spawn.hpp>
#include <asio/executor_work_guard.hpp>
#include <asio/io_context.hpp>
#include <gtest/gtest.h>

#include "shoal/base/async.h"
#include "shoal/run/state_digest.h"
#include "shoal/train/settings.h"

namespace shoal::train {
namespace {

template <typename T>
awaitable<void> keep_in(awaitable<T> task, std::optional<T>& result) {
    result = co_await std::move(task);
}

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
        io_.restart();                                    // it has stopped if it ran out of work before
        while (!ended) io_.run_one();
        if (failure) std::rethrow_exception(failure);
    }

    template <typename T>
    T run_and_return(awaitable<T> task) {
        std::optional<T> result;
        run(keep_in(std::move(task), result));
        return *result;
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

std::vector<std::string> files_in(const std::filesystem::path& folder) {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(folder))
        names.push_back(entry.path().filename().string());
    std::sort(names.begin(), names.end());
    return names;
}

awaitable<void> compute_on_after_a_step(optim::LocalCompute& compute, CheckpointWriter& writer,
                                        std::uint64_t& at_the_step) {
    co_await compute.micro_batch();
    const std::vector<float> average(compute.gradient_elements(), 0.01F);
    co_await compute.apply(kStart, average);
    const Fingerprint digest = co_await compute.digest();
    const optim::LocalCompute::Held held = co_await compute.held_state();
    at_the_step = held.position;
    writer.on_step(Step{1}, 2.5, 2.5, 1, digest);
    co_await compute.micro_batch();  // of the next step, which never comes
    co_await writer.finish();
}

TEST_F(CheckpointWriterTest, the_data_position_is_the_one_at_which_the_step_was_taken) {
    std::uint64_t at_the_step = 0;
    run(compute_on_after_a_step(compute_, writer_, at_the_step));
    EXPECT_EQ(at_the_step, static_cast<std::uint64_t>(definition_.data.micro_batch_size));
    const run::CheckpointFolder folder(definition_.checkpoint_folder(), 3, Log());
    EXPECT_EQ(folder.read(Step{1}).info.data_position, at_the_step);
    EXPECT_EQ(source_->position(), 2 * at_the_step) << "the second micro-batch is in no state";
    EXPECT_EQ(run_and_return(writer_.resume()), Step{1});
    EXPECT_EQ(source_->position(), at_the_step) << "so it is computed again";
}

awaitable<void> write_a_state_before_its_step_is_reported(optim::LocalCompute& compute,
                                                          CheckpointWriter& writer) {
    const std::vector<float> average(compute.gradient_elements(), 0.01F);
    co_await compute.apply(kStart, average);
    const Fingerprint first = co_await compute.digest();
    co_await compute.apply(kFirst, average);
    const Fingerprint second = co_await compute.digest();
    writer.on_step(Step{1}, 2.5, 2.5, 1, first);
    co_await writer.finish();  // the state was of step 2 already
    writer.on_step(Step{2}, 2.4, 2.4, 1, second);
    co_await writer.finish();
    co_await writer.finish();
}

TEST_F(CheckpointWriterTest, what_is_on_disk_is_not_written_again_and_stays_where_it_is) {
    run(write_a_state_before_its_step_is_reported(compute_, writer_));
    EXPECT_EQ(files_in(definition_.checkpoint_folder()),
              (std::vector<std::string>{"step-000002.json", "step-000002.safetensors"}));
}

awaitable<void> be_stopped_in_the_first_update(optim::LocalCompute& compute, CheckpointWriter& writer) {
    const std::vector<float> average(compute.gradient_elements(), 0.01F);
    co_await compute.apply(kStart, average);  // nobody reports it
    co_await writer.finish();
}

TEST_F(CheckpointWriterTest, a_first_update_that_nobody_reported_is_written_too) {
    run(be_stopped_in_the_first_update(compute_, writer_));
    EXPECT_EQ(run::CheckpointFolder(definition_.checkpoint_folder(), 3, Log()).steps(),
              std::vector<Step>{Step{1}});
}

awaitable<void> take_another_state_of_the_same_step(optim::LocalCompute& compute, CheckpointWriter& writer) {
    const std::vector<float> average(compute.gradient_elements(), 0.01F);
    const std::vector<float> other(compute.gradient_elements(), 0.02F);
    const collective::StatePointer start = co_await compute.snapshot(kStart);
    co_await compute.apply(kStart, average);
    co_await writer.finish();
    co_await compute.load(start);  // the swarm went another way
    co_await compute.apply(kStart, other);
    const Fingerprint digest = co_await compute.digest();
    writer.on_step(Step{1}, 2.5, 2.5, 1, digest);
    co_await writer.finish();
}

TEST_F(CheckpointWriterTest, another_state_of_a_step_that_is_on_disk_is_written) {
    run(take_another_state_of_the_same_step(compute_, writer_));
    const run::CheckpointFolder folder(definition_.checkpoint_folder(), 3, Log());
    EXPECT_EQ(folder.read(Step{1}).info.digest, run_and_return(compute_.digest()));
}

TEST_F(CheckpointWriterTest, a_model_that_has_taken_no_step_is_not_written) {
    run(writer_.finish());
    EXPECT_FALSE(std::filesystem::exists(definition_.checkpoint_folder()));
}

}  // namespace
}  // namespace shoal::train
