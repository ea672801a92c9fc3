// Delayed averaging (DeDLOC, section 2.6 of the notes) in whole swarms: what it computes, and how long a step
// takes.
#include "collective/training_support.h"

#include <algorithm>
#include <gtest/gtest.h>

namespace shoal::collective {
namespace {

using namespace testing_support;

class DelayedAveraging : public ::testing::TestWithParam<std::uint64_t> {};

std::size_t early_samples(const Swarm& swarm) {
    std::size_t count = 0;
    for (const NodePointer& node : swarm.nodes)
        if (node->compute) count += node->compute->early.size();
    return count;
}

std::size_t ledger_entries(const Swarm& swarm, const NodePointer& node, Step step) {
    const auto found = swarm.ledger->find({node->peer.id, step});
    return found == swarm.ledger->end() ? 0 : found->second.size();
}

/// Four peers on lines on which a round takes about a second. Trains to the end.
void train_on_slow_lines(Swarm& swarm, bool delayed, Duration micro_batch) {
    swarm.settings.delayed = delayed;
    swarm.settings.parameters = 40'000;
    swarm.settings.chunk_elements = 1024;
    for (int i = 0; i < 4; ++i) {
        NodeOptions options = speed(4, micro_batch);
        options.host.upload_rate = options.host.download_rate = 240e3;
        swarm.add(options);
    }
    EXPECT_TRUE(swarm.finishes(400s));
}

/// From the fifth to the last.
double step_seconds(const Swarm& swarm) {
    const auto& steps = swarm.nodes[0]->seen->steps;
    return seconds(steps.at(Step{20}).when - steps.at(Step{5}).when) / 15;
}

TEST_P(DelayedAveraging, AStepTakesTheLongerOfComputingAndAveragingAndNotTheirSum) {
    Swarm together(GetParam(), 64, 20), beside(GetParam(), 64, 20);
    train_on_slow_lines(together, false, 250ms);
    train_on_slow_lines(beside, true, 250ms);
    const double sum = step_seconds(together), longer = step_seconds(beside);
    const double computing = 64.0 / 4 / 4 * 0.25;
    const double averaging = sum - computing;
    EXPECT_GT(averaging, 0.9);
    EXPECT_LT(longer, 1.15 * std::max(computing, averaging) + 0.25) << "of " << sum << " s together";
    beside.expect_identical();
    beside.expect_equal_to_one_machine();
    EXPECT_GT(early_samples(beside), 64U * 12);
    EXPECT_EQ(early_samples(together), 0U);
}

TEST_P(DelayedAveraging, UnequalPeersEqualOneMachineWhoseGradientsAreAsLate) {
    Swarm swarm(GetParam(), 64, 30);
    swarm.settings.delayed = true;
    swarm.add(speed(4, 40ms));
    swarm.add(speed(8, 130ms));
    swarm.add(speed(2, 90ms));
    swarm.add(speed(16, 600ms));
    swarm.add(speed(1, 10ms));
    NodeOptions client = speed(4, 80ms), auxiliary;
    client.role = Role::client;
    auxiliary.role = Role::auxiliary;
    swarm.add(client);
    swarm.add(auxiliary);
    ASSERT_TRUE(swarm.finishes(120s));
    swarm.expect_identical();
    swarm.expect_equal_to_one_machine();
    EXPECT_GT(early_samples(swarm), 0U);
}

TEST_P(DelayedAveraging, BatchesDoNotGrowWhileARoundTakesLong) {
    Swarm swarm(GetParam(), 64, 20);
    train_on_slow_lines(swarm, true, 20ms);  // a batch in 80 ms
    for (std::int64_t step = 2; step < 20; ++step)
        EXPECT_LE(swarm.samples_of(static_cast<Step>(step)).size(), 64U + 2 * 4 * 4)
            << step << ": one micro-batch that was under way, and one begun before the others were heard";
}

TEST_P(DelayedAveraging, NoSampleCountsTwiceWhenPeersCrashFreezeAndComeBack) {
    Swarm swarm(GetParam(), 48, 120);
    swarm.settings.delayed = true;
    swarm.faults_expected = true;
    for (int i = 0; i < 6; ++i) swarm.add(speed(4, 30ms + i * 10ms));
    Random random(GetParam() + 300);
    for (int fault = 0; fault < 6; ++fault) {
        swarm.world.simulation().run_for(1s + from_seconds(random.uniform() * 2));
        const NodePointer victim = swarm.nodes[swarm.nodes.size() - 1 - random.below(6)];
        if (victim->crashed) continue;
        if (fault % 2 == 0) {
            swarm.world.internet().freeze(victim->peer.id);
            swarm.world.simulation().run_for(4s);
            swarm.world.internet().thaw(victim->peer.id);
            continue;
        }
        swarm.crash(victim);
        swarm.world.simulation().run_for(from_seconds(random.uniform()));
        swarm.restart(victim, speed(4, 50ms));
    }
    ASSERT_TRUE(swarm.finishes(300s));
    swarm.expect_identical();
    swarm.expect_equal_to_one_machine();
}

TEST_P(DelayedAveraging, ARoundThatFailsPutsTheWorkBesideItIntoItsOwnBatch) {
    Swarm swarm(GetParam(), 64, 12);
    swarm.faults_expected = true;
    swarm.settings.delayed = true;
    swarm.settings.parameters = 40'000;
    swarm.settings.chunk_elements = 1024;
    for (int i = 0; i < 4; ++i) {
        NodeOptions options = speed(4, 250ms);
        options.host.upload_rate = options.host.download_rate = 240e3;
        swarm.add(options);
    }
    const NodePointer dies = swarm.nodes[3], lives = swarm.nodes[0];
    // Half a second into a round of a second, beside which each has computed for as long.
    ASSERT_TRUE(swarm.run_until([&] { return swarm.highest_step() == 6; }, 60s));
    const auto begun = [&] { return ledger_entries(swarm, lives, Step{6}) == 1; };
    ASSERT_TRUE(swarm.run_until(begun, 10s));
    const std::size_t offered = swarm.ledger->at({lives->peer.id, Step{6}}).back().size();
    swarm.world.simulation().run_for(500ms);
    swarm.crash(dies);
    ASSERT_TRUE(swarm.finishes(120s));
    ASSERT_GT(ledger_entries(swarm, lives, Step{6}), 1U) << "the round failed and was retried";
    EXPECT_GT(swarm.ledger->at({lives->peer.id, Step{6}}).back().size(), offered);
    for (const std::uint64_t sample : swarm.ledger->at({lives->peer.id, Step{6}}).front()) {
        const auto& retried = swarm.ledger->at({lives->peer.id, Step{6}}).back();
        EXPECT_NE(std::find(retried.begin(), retried.end(), sample), retried.end());
    }
    swarm.expect_identical();
    swarm.expect_equal_to_one_machine();
}

TEST_P(DelayedAveraging, AGoodbyeWhileTheLastMicroBatchIsAwaitedSaysThatTheStepMayHaveBeenTaken) {
    Swarm swarm(GetParam(), 32, 60);
    swarm.settings.delayed = true;
    swarm.faults_expected = true;
    for (int i = 0; i < 4; ++i) swarm.add(speed(8, i == 0 ? 2s : 50ms + i * 10ms));
    const NodePointer leaver = swarm.nodes[0], other = swarm.nodes[1];
    // The others have averaged with it, and it still computes what it has begun beside the round.
    const auto is_awaited = [&] {
        const Step at = leaver->trainer->step();
        const auto round = other->seen->averaged.find(at);
        if (value(at) < 5 || round == other->seen->averaged.end()) return false;
        const auto& members = round->second.contributors;
        return other->trainer->step() > at && !leaver->seen->averaged.contains(at) &&
               std::any_of(members.begin(), members.end(),
                           [&](const Contributor& member) { return member.peer == leaver->peer.id; });
    };
    ASSERT_TRUE(swarm.run_until(is_awaited, 100s));
    const Step after = next(leaver->trainer->step());
    leaver->tasks->cancel();
    swarm.world.simulation().run_for(1ms);  // it leaves the round, and says so
    swarm.world.simulation().run(leaver->tracker->stop(), 5s);
    EXPECT_TRUE(swarm.run_until([&] { return other->tracker->has_left(leaver->peer.id, after); }, 5s));
    swarm.crash(leaver);
    ASSERT_TRUE(swarm.finishes(100s));
    swarm.expect_identical();
    swarm.expect_equal_to_one_machine();
}

INSTANTIATE_TEST_SUITE_P(Seeds, DelayedAveraging, ::testing::Range<std::uint64_t>(1, 5));

}  // namespace
}  // namespace shoal::collective
