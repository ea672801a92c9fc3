// Whole swarms in virtual time: what they compute, not only that they go on.
#include "collective/training_support.h"

#include <gtest/gtest.h>

namespace shoal::collective {
namespace {

using namespace testing_support;

class Training : public ::testing::TestWithParam<std::uint64_t> {};

TEST_P(Training, LonePeerStartsTheRunByItselfAndEqualsOneMachine) {
    Swarm swarm(GetParam(), 32, 20);
    const NodePointer node = swarm.add();
    ASSERT_TRUE(swarm.finishes(60s));
    EXPECT_GE(*node->seen->first_micro_batch - node->started, 5s);
    swarm.expect_identical();
    swarm.expect_equal_to_one_machine();
}

TEST_P(Training, TwoPeersEqualOneMachine) {
    Swarm swarm(GetParam(), 32, 20);
    const NodePointer a = swarm.add(speed(4, 50ms)), b = swarm.add(speed(6, 170ms));
    ASSERT_TRUE(swarm.finishes(60s));
    EXPECT_LT(*a->seen->first_micro_batch - a->started, 2s);
    swarm.expect_identical();
    swarm.expect_equal_to_one_machine();
    EXPECT_TRUE(b->seen->synchronised.empty());
}

TEST_P(Training, UnequalPeersEqualOneMachine) {
    Swarm swarm(GetParam(), 64, 20);
    swarm.add(speed(4, 40ms));
    swarm.add(speed(8, 130ms));
    swarm.add(speed(2, 90ms));
    swarm.add(speed(16, 600ms));
    swarm.add(speed(1, 10ms));
    ASSERT_TRUE(swarm.finishes(120s));
    swarm.expect_identical();
    swarm.expect_equal_to_one_machine();
    for (const NodePointer& node : swarm.nodes) {
        EXPECT_TRUE(node->seen->synchronised.empty()) << node->options.samples;
        EXPECT_EQ(node->seen->steps.size(), 20U);
    }
}

TEST_P(Training, ClientAndAuxiliaryPeersTakePart) {
    Swarm swarm(GetParam(), 64, 20);
    swarm.settings.evaluate_every = 5;
    NodeOptions client = speed(4, 80ms), auxiliary;
    client.role = Role::client;
    auxiliary.role = Role::auxiliary;
    swarm.add(speed(4, 50ms));
    swarm.add(speed(8, 90ms));
    const NodePointer behind_nat = swarm.add(client), helper = swarm.add(auxiliary);
    ASSERT_TRUE(swarm.finishes(120s));
    swarm.expect_identical();
    swarm.expect_equal_to_one_machine();
    EXPECT_EQ(behind_nat->seen->steps.size(), 20U);
    EXPECT_EQ(behind_nat->seen->held_out, 4);
    EXPECT_GE(helper->seen->averaged.size(), 15U);
    for (const auto& [step, verdict] : helper->seen->averaged) {
        for (const Contributor& member : verdict.contributors) {
            if (member.peer == helper->peer.id) {
                EXPECT_EQ(member.weight, 0);
            }
        }
    }
}

TEST_P(Training, NewcomerTrainsWithinSecondsAndContributes) {
    Swarm swarm(GetParam(), 64, 60);
    swarm.add(speed(8, 50ms));
    swarm.add(speed(8, 70ms));
    swarm.add(speed(8, 90ms));
    ASSERT_TRUE(swarm.run_until([&] { return swarm.highest_step() == 20; }, 60s));
    const NodePointer newcomer = swarm.add(speed(8, 60ms));
    ASSERT_TRUE(swarm.finishes(60s));
    swarm.expect_identical();
    swarm.expect_equal_to_one_machine();
    ASSERT_TRUE(newcomer->seen->first_micro_batch);
    EXPECT_LT(*newcomer->seen->first_micro_batch - newcomer->started, 2s);
    EXPECT_GE(newcomer->seen->steps.size(), 30U);
}

TEST_P(Training, NewcomerWhoseDownloadTakesLongerThanAStepArrivesAllTheSame) {
    Swarm swarm(GetParam(), 16, 200);
    swarm.add(speed(8, 50ms));
    swarm.add(speed(8, 50ms));
    ASSERT_TRUE(swarm.run_until([&] { return swarm.highest_step() == 20; }, 60s));
    NodeOptions far = speed(8, 60ms);
    far.host.latency = 100ms;  // a download takes several round trips, a step less than one
    const NodePointer newcomer = swarm.add(far);
    EXPECT_TRUE(swarm.run_until([&] { return !newcomer->seen->steps.empty(); }, 5s));
    ASSERT_TRUE(swarm.finishes(200s));
    swarm.expect_identical();
    EXPECT_TRUE(newcomer->finished);
    EXPECT_LE(newcomer->seen->synchronised.size(), 4U);
}

TEST_P(Training, GoesOnWithinSecondsWhenAPeerCrashes) {
    Swarm swarm(GetParam(), 64, 60);
    swarm.faults_expected = true;
    for (int i = 0; i < 5; ++i) swarm.add(speed(4, 40ms + i * 10ms));
    Random random(GetParam());
    ASSERT_TRUE(swarm.run_until([&] { return swarm.highest_step() == 20; }, 60s));
    swarm.world.simulation().run_for(from_seconds(random.uniform() * 0.5));
    swarm.crash(swarm.nodes[random.below(5)]);
    const std::int64_t before = swarm.highest_step();
    EXPECT_TRUE(swarm.run_until([&] { return swarm.highest_step() >= before + 3; }, 3s + 2s));
    ASSERT_TRUE(swarm.finishes(120s));
    swarm.expect_identical();
    swarm.expect_equal_to_one_machine();
}

TEST_P(Training, FrozenPeerHoldsUpNobodyAndCatchesUp) {
    Swarm swarm(GetParam(), 64, 150);
    swarm.faults_expected = true;
    for (int i = 0; i < 5; ++i) swarm.add(speed(4, 40ms + i * 10ms));
    Random random(GetParam() + 100);
    ASSERT_TRUE(swarm.run_until([&] { return swarm.highest_step() == 20; }, 60s));
    swarm.world.simulation().run_for(from_seconds(random.uniform() * 0.5));
    const NodePointer frozen = swarm.nodes[random.below(5)];
    swarm.world.internet().freeze(frozen->peer.id);
    const std::int64_t before = swarm.highest_step();
    EXPECT_TRUE(swarm.run_until([&] { return swarm.highest_step() >= before + 3; }, 6s));
    swarm.world.simulation().run_for(10s);
    swarm.world.internet().thaw(frozen->peer.id);
    ASSERT_TRUE(swarm.finishes(120s));
    swarm.expect_identical();
    swarm.expect_equal_to_one_machine();
    EXPECT_FALSE(frozen->seen->synchronised.empty());
    EXPECT_TRUE(frozen->finished);
}

TEST_P(Training, PeersThatCrashAndComeBackKeepTheSwarmGoing) {
    Swarm swarm(GetParam(), 48, 120);
    swarm.faults_expected = true;
    for (int i = 0; i < 6; ++i) swarm.add(speed(4, 30ms + i * 10ms));
    Random random(GetParam() + 200);
    for (int fault = 0; fault < 6; ++fault) {
        swarm.world.simulation().run_for(1s + from_seconds(random.uniform() * 2));
        const NodePointer victim = swarm.nodes[swarm.nodes.size() - 1 - random.below(6)];
        if (victim->crashed) continue;
        swarm.crash(victim);
        swarm.world.simulation().run_for(from_seconds(random.uniform()));
        swarm.restart(victim, speed(4, 50ms));
    }
    ASSERT_TRUE(swarm.finishes(300s));
    swarm.expect_identical();
    swarm.expect_equal_to_one_machine();
}

TEST_P(Training, CutConnectionsChangeNoResult) {
    Swarm swarm(GetParam(), 64, 40);
    swarm.faults_expected = true;
    for (int i = 0; i < 5; ++i) swarm.add(speed(4, 40ms + i * 10ms));
    Random random(GetParam() + 300);
    for (int i = 0; i < 15; ++i) {
        swarm.world.simulation().run_for(from_seconds(0.2 + random.uniform() * 0.3));
        const auto a = random.below(5), b = (a + 1 + random.below(4)) % 5;
        swarm.world.internet().cut(swarm.nodes[a]->peer.id, swarm.nodes[b]->peer.id);
    }
    ASSERT_TRUE(swarm.finishes(120s));
    swarm.expect_identical();
    swarm.expect_equal_to_one_machine();
}

TEST_P(Training, LoneLiarMovesNobody) {
    Swarm swarm(GetParam(), 64, 30);
    for (int i = 0; i < 3; ++i) swarm.add(speed(8, 50ms + i * 20ms));
    const sim::Peer liar = swarm.world.add_peer();
    ProgressSettings settings;
    settings.run = sim::kSimulatedRun;
    settings.target_batch_size = Samples{64};
    const auto tracker = make_progress_tracker(*liar.network, *liar.directory, *liar.clock, settings, Log());
    swarm.world.simulation().run(tracker->start(), 5s);
    Progress lie;
    lie.step = static_cast<Step>(1'000'000'000);
    lie.samples = static_cast<Samples>(1'000'000'000);
    lie.samples_per_second = 1e6;
    lie.training = true;
    tracker->report(lie);
    ASSERT_TRUE(swarm.run_until([&] { return swarm.highest_step() == 10; }, 60s));
    tracker->report(lie);
    const NodePointer newcomer = swarm.add(speed(8, 60ms));
    ASSERT_TRUE(swarm.finishes(60s));
    swarm.expect_identical();
    swarm.expect_equal_to_one_machine();
    EXPECT_TRUE(newcomer->finished);
    for (int i = 0; i < 3; ++i)
        EXPECT_TRUE(swarm.nodes[static_cast<std::size_t>(i)]->seen->synchronised.empty());
}

TEST_P(Training, WholeRunResumesFromItsCheckpoints) {
    Swarm first(GetParam(), 64, 10);
    for (int i = 0; i < 3; ++i) first.add(speed(8, 50ms + i * 20ms));
    ASSERT_TRUE(first.finishes(60s));
    const sim::QuadraticCompute& checkpoint = *first.nodes[0]->compute;

    Swarm second(GetParam() + 1, 64, 20);
    for (int i = 0; i < 3; ++i) {
        NodeOptions options = speed(8, 50ms + i * 20ms);
        options.start = 10;
        options.from = &checkpoint;
        second.add(options);
    }
    ASSERT_TRUE(second.finishes(60s));
    second.expect_identical();
    second.expect_equal_to_one_machine(10, &checkpoint);
    for (const NodePointer& node : second.nodes) EXPECT_TRUE(node->seen->synchronised.empty());
}

/// A run of three peers of which `newer` have the checkpoint of step 30, the others an older one or none.
void expect_the_newest_checkpoint_to_win(std::uint64_t seed, int newer, std::int64_t older) {
    Swarm first(seed, 64, 30);
    for (int i = 0; i < 3; ++i) first.add(speed(8, 50ms + i * 20ms));
    ASSERT_TRUE(first.finishes(60s));
    const sim::QuadraticCompute& checkpoint = *first.nodes[0]->compute;
    Swarm before(seed, 64, older);
    if (older > 0) {
        for (int i = 0; i < 3; ++i) before.add(speed(8, 50ms + i * 20ms));
        ASSERT_TRUE(before.finishes(60s));
    }

    Swarm second(seed + 1, 64, 45);
    for (int i = 0; i < 3; ++i) {
        NodeOptions options = speed(8, 50ms + i * 20ms);
        options.start = i < newer ? 30 : older;
        if (i < newer) options.from = &checkpoint;
        if (i >= newer && older > 0) options.from = before.nodes[0]->compute.get();
        second.add(options);
    }
    ASSERT_TRUE(second.finishes(60s));
    second.expect_identical();
    second.expect_equal_to_one_machine(30, &checkpoint);
    for (int i = 0; i < 3; ++i)
        EXPECT_EQ(second.nodes[static_cast<std::size_t>(i)]->seen->synchronised.empty(), i < newer) << i;
}

TEST_P(Training, TheNewestCheckpointIsTheRunsHoweverFewHoldIt) {
    for (const std::int64_t older : {0, 5, 20, 29}) {
        expect_the_newest_checkpoint_to_win(GetParam(), 1, older);
        expect_the_newest_checkpoint_to_win(GetParam(), 2, older);
    }
}

TEST_P(Training, AWorseCheckpointIsNotTakenHoweverNewItClaimsToBe) {
    Swarm first(GetParam(), 64, 10);
    for (int i = 0; i < 3; ++i) first.add(speed(8, 50ms + i * 20ms));
    ASSERT_TRUE(first.finishes(60s));
    const sim::QuadraticCompute& checkpoint = *first.nodes[0]->compute;
    for (const std::int64_t lead : {1, 2, 20}) {
        Swarm second(GetParam() + 1, 64, 40);
        for (int i = 0; i < 4; ++i) {
            NodeOptions options = speed(8, 50ms + i * 20ms);
            options.start = i < 3 ? 10 : 10 + lead;
            options.from = &checkpoint;
            second.add(options);
        }
        for (float& parameter : second.nodes[3]->compute->parameters) parameter = 30;
        // What each holds once it trains beyond the claim.
        std::map<int, float> largest;
        const auto others_are_done = [&second, &largest, lead] {
            bool done = true;
            for (int i = 0; i < 3; ++i) {
                const Node& node = *second.nodes[static_cast<std::size_t>(i)];
                done = done && node.trainer->step() == Step{40};
                if (value(node.trainer->step()) <= 10 + lead || largest.contains(i)) continue;
                for (const float parameter : node.compute->parameters)
                    largest[i] = std::max(largest[i], std::abs(parameter));
            }
            return done;
        };
        // Well before a lost quorum would be given up.
        ASSERT_TRUE(second.run_until(others_are_done, 25s)) << lead;
        for (int i = 0; i < 3; ++i) {
            EXPECT_LT(largest.at(i), 10) << "lead " << lead << ", peer " << i;
            EXPECT_EQ(second.nodes[static_cast<std::size_t>(i)]->compute->fingerprint_now(),
                      second.nodes[0]->compute->fingerprint_now());
        }
    }
}

TEST_P(Training, AverageThatIsNotFiniteIsSkippedByAllAlike) {
    Swarm swarm(GetParam(), 64, 20);
    for (int i = 0; i < 3; ++i) swarm.add(speed(8, 50ms + i * 20ms));
    ASSERT_TRUE(swarm.run_until([&] { return swarm.highest_step() == 10; }, 60s));
    swarm.nodes[1]->compute->poison_next = true;
    ASSERT_TRUE(swarm.finishes(60s));
    swarm.expect_identical();
    for (const NodePointer& node : swarm.nodes) {
        EXPECT_LE(node->compute->skipped.size(), 1U);
        EXPECT_EQ(node->compute->skipped, swarm.nodes[0]->compute->skipped);
        EXPECT_EQ(node->compute->fingerprint_now(), swarm.nodes[0]->compute->fingerprint_now());
        EXPECT_EQ(node->trainer->step(), Step{20});
    }
}

TEST_P(Training, PeerWithAnotherStateTakesThatOfMost) {
    Swarm swarm(GetParam(), 64, 30);
    for (int i = 0; i < 4; ++i) swarm.add(speed(8, 50ms + i * 20ms));
    swarm.nodes[2]->compute->parameters[7] = 3;  // e.g. a bit of its memory flipped before it started
    ASSERT_TRUE(swarm.finishes(60s));
    EXPECT_FALSE(swarm.nodes[2]->seen->synchronised.empty());
    const bool reported =
        std::any_of(swarm.nodes[2]->seen->troubles.begin(), swarm.nodes[2]->seen->troubles.end(),
                    [](const auto& t) { return t.second.find("differs") != std::string::npos; });
    EXPECT_TRUE(reported);
    for (const NodePointer& node : swarm.nodes)
        EXPECT_EQ(node->compute->fingerprint_now(), swarm.nodes[0]->compute->fingerprint_now());
}

TEST_P(Training, OnlyOneHalfOfAPartitionGoesOnAndAllMeetAgain) {
    Swarm swarm(GetParam(), 64, 200);
    swarm.faults_expected = true;
    for (int i = 0; i < 5; ++i) swarm.add(speed(8, 50ms + i * 10ms));
    Random random(GetParam() + 400);
    ASSERT_TRUE(swarm.run_until([&] { return swarm.highest_step() == 20; }, 60s));
    swarm.world.simulation().run_for(from_seconds(random.uniform() * 0.3));
    const auto id = [&](std::size_t i) { return swarm.nodes[i]->peer.id; };
    swarm.world.internet().partition({{id(0), id(1)}, {id(2), id(3), id(4)}});
    swarm.world.simulation().run_for(15s);
    const auto step_of = [&](std::size_t i) { return value(swarm.nodes[i]->trainer->step()); };
    const std::int64_t minority = std::max(step_of(0), step_of(1));
    EXPECT_LE(minority, 40);
    EXPECT_GE(step_of(2), minority + 10);
    swarm.world.internet().heal();
    ASSERT_TRUE(swarm.finishes(200s));
    swarm.expect_identical();
    swarm.expect_equal_to_one_machine();
    for (const NodePointer& node : swarm.nodes) EXPECT_TRUE(node->finished);
}

TEST_P(Training, SurvivorsThatAreNoQuorumGoOnAfterAWhile) {
    Swarm swarm(GetParam(), 32, 40);
    swarm.faults_expected = true;
    swarm.settings.lost_quorum_timeout = 10s;
    for (int i = 0; i < 5; ++i) swarm.add(speed(8, 50ms + i * 10ms));
    ASSERT_TRUE(swarm.run_until([&] { return swarm.highest_step() == 20; }, 60s));
    for (std::size_t i = 0; i < 3; ++i) swarm.crash(swarm.nodes[i]);
    ASSERT_TRUE(swarm.finishes(100s));
    swarm.expect_identical();
    swarm.expect_equal_to_one_machine();
}

TEST_P(Training, GoodbyesLeaveAQuorumBehind) {
    Swarm swarm(GetParam(), 32, 60);
    swarm.faults_expected = true;
    for (int i = 0; i < 4; ++i) swarm.add(speed(8, 50ms + i * 10ms));
    ASSERT_TRUE(swarm.run_until([&] { return swarm.highest_step() == 20; }, 60s));
    for (std::size_t i = 0; i < 3; ++i) {
        swarm.nodes[i]->tasks->cancel();
        swarm.world.simulation().run(swarm.nodes[i]->tracker->stop(), 5s);
        swarm.crash(swarm.nodes[i]);
    }
    const std::int64_t before = swarm.highest_step();
    EXPECT_TRUE(swarm.run_until([&] { return swarm.highest_step() >= before + 3; }, 8s));
    ASSERT_TRUE(swarm.finishes(100s));
    swarm.expect_identical();
    swarm.expect_equal_to_one_machine();
}

/// Where a peer said goodbye, as another one has it.
bool has_left_before(const NodePointer& other, const NodePointer& leaver, Step step) {
    return other->tracker->has_left(leaver->peer.id, step);
}

TEST_P(Training, AGoodbyeWhileTheStepIsAppliedSaysThatItMayHaveBeenTaken) {
    Swarm swarm(GetParam(), 32, 60);
    swarm.faults_expected = true;
    for (int i = 0; i < 4; ++i) swarm.add(speed(8, 50ms + i * 10ms));
    const NodePointer leaver = swarm.nodes[0], other = swarm.nodes[1];
    const Step before{20}, after{21};
    ASSERT_TRUE(swarm.run_until(
        [&] { return leaver->seen->averaged.contains(before) && leaver->trainer->step() == before; }, 60s));
    EXPECT_FALSE(leaver->seen->steps.contains(after)) << "it is being applied";
    leaver->tasks->cancel();
    swarm.world.simulation().run(leaver->tracker->stop(), 5s);
    EXPECT_EQ(leaver->trainer->step(), before) << "it was stopped within the update";
    EXPECT_TRUE(swarm.run_until([&] { return has_left_before(other, leaver, after); }, 5s));
    swarm.crash(leaver);
    EXPECT_TRUE(swarm.run_until([&] { return swarm.highest_step() >= 24; }, 8s));
    ASSERT_TRUE(swarm.finishes(100s));
    swarm.expect_identical();
    swarm.expect_equal_to_one_machine();
}

TEST_P(Training, AGoodbyeAfterTheStepIsOfTheNextOne) {
    Swarm swarm(GetParam(), 32, 60);
    swarm.faults_expected = true;
    for (int i = 0; i < 4; ++i) swarm.add(speed(8, 50ms + i * 10ms));
    const NodePointer leaver = swarm.nodes[0], other = swarm.nodes[1];
    const Step after{21};
    ASSERT_TRUE(swarm.run_until([&] { return leaver->seen->steps.contains(after); }, 60s));
    leaver->tasks->cancel();
    swarm.world.simulation().run(leaver->tracker->stop(), 5s);
    EXPECT_TRUE(swarm.run_until([&] { return has_left_before(other, leaver, after); }, 5s));
    swarm.crash(leaver);
    ASSERT_TRUE(swarm.finishes(100s));
    swarm.expect_identical();
}

TEST_P(Training, TwoHalvesThatStartedApartBecomeOneSwarm) {
    Swarm swarm(GetParam(), 32, 400);
    for (int i = 0; i < 4; ++i) {
        swarm.add(speed(8, i < 2 ? 50ms : 80ms));
        if (i == 0) continue;
    }
    const auto id = [&](std::size_t i) { return swarm.nodes[i]->peer.id; };
    swarm.world.internet().partition({{id(0), id(1)}, {id(2), id(3)}});
    swarm.world.simulation().run_for(12s);
    EXPECT_GT(value(swarm.nodes[0]->trainer->step()), 20);
    EXPECT_GT(value(swarm.nodes[2]->trainer->step()), 20);
    swarm.world.internet().heal();
    ASSERT_TRUE(swarm.finishes(200s));
    for (const NodePointer& node : swarm.nodes)
        EXPECT_EQ(node->compute->fingerprint_now(), swarm.nodes[0]->compute->fingerprint_now());
}

INSTANTIATE_TEST_SUITE_P(Seeds, Training, ::testing::Range<std::uint64_t>(1, 5));

}  // namespace
}  // namespace shoal::collective
