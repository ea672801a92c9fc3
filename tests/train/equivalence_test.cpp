// A swarm of unequal peers takes the steps that one machine takes with the same samples.
#include "train/real_swarm.h"

#include <algorithm>
#include <cmath>
#include <gtest/gtest.h>
#include <map>

namespace shoal::train {
namespace {

using testing_support::PeerTrace;

void expect_equal_peers(const std::vector<PeerTrace>& traces, std::int64_t steps) {
    for (const auto& trace : traces) {
        ASSERT_EQ(trace.digests.count(steps), 1u) << "a peer did not take the last step";
        EXPECT_EQ(trace.parameters, traces[0].parameters) << "peers differ in bits";
        for (const auto& [step, digest] : trace.digests) {
            if (!traces[0].digests.count(step)) continue;
            EXPECT_EQ(digest, traces[0].digests.at(step)) << "at step " << step;
        }
    }
}

/// Each step used at least the target batch, and more than one peer gave samples to the run.
void expect_shared_work(const run::RunDefinition& definition, const std::vector<PeerTrace>& traces) {
    std::size_t contributors = 0;
    for (const auto& trace : traces) contributors += !trace.used.empty();
    EXPECT_GT(contributors, 1u);
    for (std::int64_t step = 1; step <= definition.run.steps; ++step) {
        std::int64_t samples = 0;
        for (const auto& trace : traces)
            if (trace.used.count(step))
                for (const auto& place : trace.used.at(step)) samples += place.samples;
        EXPECT_GE(samples, definition.run.target_batch_size) << "in step " << step;
    }
}

double largest_difference(const std::vector<float>& a, const std::vector<float>& b) {
    double largest = 0;
    for (std::size_t i = 0; i < a.size(); ++i)
        largest = std::max(largest, std::abs(static_cast<double>(a[i]) - b[i]));
    return largest;
}

void expect_equal_to_one_machine(const run::RunDefinition& definition, const std::filesystem::path& folder) {
    const auto traces = testing_support::train_swarm({definition, {1.0, 0.6, 0.3}, folder});
    expect_equal_peers(traces, definition.run.steps);
    expect_shared_work(definition, traces);
    const auto alone = testing_support::replay(definition, traces);
    ASSERT_EQ(alone.parameters.size(), traces[0].parameters.size());
    EXPECT_LE(largest_difference(alone.parameters, traces[0].parameters), 1e-5);
}

/// With a codec that rounds, at a learning rate at which the loss falls by a quarter within the 20 steps: a
/// swarm whose averages were wrong would be far from the one machine then.
void expect_loss_of_one_machine(run::RunDefinition definition, const std::string& codec, double learning_rate,
                                const std::filesystem::path& folder) {
    definition.averaging.codec = codec;
    definition.schedule.learning_rate = learning_rate;
    definition.run.target_batch_size = 96;
    const auto traces = testing_support::train_swarm({definition, {1.0, 0.6, 0.3}, folder});
    expect_equal_peers(traces, definition.run.steps);
    expect_shared_work(definition, traces);
    const auto alone = testing_support::replay(definition, traces);
    std::map<std::int64_t, double> swarm_loss;
    for (const auto& trace : traces) swarm_loss.insert(trace.swarm_loss.begin(), trace.swarm_loss.end());
    for (std::int64_t step = 1; step <= definition.run.steps; ++step) {
        ASSERT_EQ(swarm_loss.count(step), 1u) << "nobody took step " << step;
        EXPECT_NEAR(swarm_loss[step], alone.loss.at(step), 0.02 * alone.loss.at(step))
            << codec << ", step " << step;
    }
    EXPECT_LT(alone.loss.at(definition.run.steps), 0.88 * alone.loss.at(1))
        << "this says nothing unless the loss falls";
}

run::RunDefinition adam(run::RunDefinition definition) {
    definition.optimizer.name = "adamw";  // LAMB takes more than 20 steps to get going
    return definition;
}

TEST(Equivalence, convnet_by_three_unequal_peers_equals_one_machine_after_20_steps) {
    expect_equal_to_one_machine(testing_support::convnet_run(), testing_support::fresh_folder("convnet"));
}

TEST(Equivalence, albert_by_three_unequal_peers_equals_one_machine_after_20_steps) {
    const auto folder = testing_support::fresh_folder("albert");
    expect_equal_to_one_machine(testing_support::albert_run(folder), folder);
}

TEST(Equivalence, convnet_loss_stays_within_two_percent_under_fp16) {
    expect_loss_of_one_machine(testing_support::convnet_run(), "fp16", 0.1,
                               testing_support::fresh_folder("convnet16"));
}

TEST(Equivalence, convnet_loss_stays_within_two_percent_under_8_bits) {
    expect_loss_of_one_machine(testing_support::convnet_run(), "blockwise8", 0.1,
                               testing_support::fresh_folder("convnet8"));
}

TEST(Equivalence, albert_loss_stays_within_two_percent_under_fp16) {
    const auto folder = testing_support::fresh_folder("albert16");
    expect_loss_of_one_machine(adam(testing_support::albert_run(folder)), "fp16", 0.004, folder);
}

TEST(Equivalence, albert_loss_stays_within_two_percent_under_8_bits) {
    const auto folder = testing_support::fresh_folder("albert8");
    expect_loss_of_one_machine(adam(testing_support::albert_run(folder)), "blockwise8", 0.004, folder);
}

TEST(Equivalence, albert_loss_stays_within_two_percent_under_8_bits_with_small_tensors_in_fp16) {
    const auto folder = testing_support::fresh_folder("albert_mixed");
    run::RunDefinition definition = adam(testing_support::albert_run(folder));
    definition.averaging.small_codec = "fp16";
    definition.averaging.small_below = 1000;  // biases and normalisations
    expect_loss_of_one_machine(definition, "blockwise8", 0.004, folder);
}

TEST(DelayedAveraging, real_peers_keep_equal_bits_and_learn_as_much_a_step) {
    const auto folder = testing_support::fresh_folder("delayed");
    run::RunDefinition definition = adam(testing_support::albert_run(folder));
    definition.schedule.learning_rate = 0.004;
    definition.run.target_batch_size = 96;
    const auto loss_at_the_end = [&](bool delayed, const char* name) {
        definition.averaging.delayed = delayed;
        const auto traces = testing_support::train_swarm({definition, {1.0, 0.6, 0.3}, folder / name});
        expect_equal_peers(traces, definition.run.steps);
        std::map<std::int64_t, double> loss;
        for (const auto& trace : traces) loss.insert(trace.swarm_loss.begin(), trace.swarm_loss.end());
        EXPECT_LT(loss.at(definition.run.steps), 0.9 * loss.at(1)) << name;
        return loss.at(definition.run.steps);
    };
    const double together = loss_at_the_end(false, "together"), beside = loss_at_the_end(true, "beside");
    EXPECT_NEAR(beside, together, 0.05 * together);
}

TEST(LocalUpdates, real_peers_keep_equal_bits_and_learn_between_their_averages) {
    const auto folder = testing_support::fresh_folder("local_updates");
    run::RunDefinition definition = testing_support::convnet_run();
    definition.schedule.learning_rate = 0.05;
    definition.run.target_batch_size = 192;
    definition.run.steps = 10;
    const auto loss_at_the_end = [&](std::int64_t local_batch, const char* name) {
        definition.local_updates.batch_size = local_batch;
        const auto traces = testing_support::train_swarm({definition, {1.0, 0.6, 0.3}, folder / name});
        expect_equal_peers(traces, definition.run.steps);
        std::map<std::int64_t, double> loss;
        for (const auto& trace : traces) loss.insert(trace.swarm_loss.begin(), trace.swarm_loss.end());
        return loss.at(definition.run.steps);
    };
    const double local = loss_at_the_end(16, "local"), averages = loss_at_the_end(0, "averages");
    // How much less depends on who computes how much: 0.61 to 0.67 with an idle machine, 0.80 was seen on a
    // busy one.
    EXPECT_LT(local, 0.9 * averages) << "after ten averages each";
}

}  // namespace
}  // namespace shoal::train
