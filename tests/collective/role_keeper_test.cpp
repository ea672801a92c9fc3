// Peers that find that they slow the swarm down, and rest.
#include "shoal/collective/role_keeper.h"

#include "collective/training_support.h"
#include "split_support.h"

#include <gtest/gtest.h>

namespace shoal::collective {
namespace {

using namespace testing_support;

PeerId test_peer(std::size_t number) {
    const std::string text = "peer " + std::to_string(number);
    return PeerId(sha256(as_bytes(std::string_view(text))));
}

/// Rounds among peers on lines of 100 for a vector of 100, and the peer that judges itself, on a line of its
/// own.
class Rounds {
  public:
    explicit Rounds(double own_upload, std::size_t others = 7) : others_(others) {
        for (std::size_t i = 0; i <= others; ++i) {
            Contributor member;
            member.peer = test_peer(i);
            verdict.contributors.push_back(member);
            verdict.lines.push_back(full_member(i == 0 ? own_upload : 100, 100));
        }
        verdict.outcome = Verdict::Outcome::averaged;
        verdict.vector_bytes = 100;
    }

    /// All compute ten samples a second.
    void step(RoleKeeper& keeper, double batch_seconds = 2) {
        std::vector<double> speeds(others_ + 1, kSpeed);
        for (std::size_t i = 0; i <= others_; ++i) {
            const bool computes = i > 0 || !keeper.rests();
            verdict.contributors[i].weight = computes ? kSpeed * batch_seconds : 0;
            verdict.lines[i].sends = computes;
        }
        keeper.step_taken(verdict, speeds, kSpeed, batch_seconds, batch_seconds + 1);
    }

    static constexpr double kSpeed = 10;
    Verdict verdict;

  private:
    const std::size_t others_;
};

RoleKeeper keeper_of(double target_batch) {
    return RoleKeeper(test_peer(0), target_batch, Overlap::delayed);
}

TEST(RoleKeeper, RestsAfterSomeStepsThatSpeakForIt) {
    Rounds rounds(1);
    RoleKeeper keeper = keeper_of(140);
    for (int step = 1; step < kStepsUntilResting; ++step) {
        rounds.step(keeper);
        EXPECT_FALSE(keeper.rests()) << "after " << step;
    }
    rounds.step(keeper);
    EXPECT_TRUE(keeper.rests());
    EXPECT_EQ(keeper.longest_step(), 2 * 3.0);
}

TEST(RoleKeeper, ComputesWhereTheLineIsNoWorseThanThatOfOthers) {
    Rounds rounds(100);
    RoleKeeper keeper = keeper_of(140);
    for (int step = 0; step < 20; ++step) rounds.step(keeper);
    EXPECT_FALSE(keeper.rests());
}

// A vector of 100 that takes 100 / u seconds to send; the others compute a batch of 140 in 2 s, all together
// in 1.75 s. So resting gains more than a tenth as soon as sending takes more than 2.2 s.
TEST(RoleKeeper, RestsWhereItGainsMoreThanATenth) {
    Rounds slower(100 / 2.25), faster(100 / 2.15);
    RoleKeeper rests = keeper_of(140), computes = keeper_of(140);
    for (int step = 0; step < kStepsUntilResting; ++step) {
        slower.step(rests);
        faster.step(computes);
    }
    EXPECT_TRUE(rests.rests());
    EXPECT_FALSE(computes.rests());
}

TEST(RoleKeeper, ReturnsWhenTheSwarmWouldBeFasterWithIt) {
    Rounds rounds(1);
    RoleKeeper keeper = keeper_of(140);
    for (int step = 0; step < kStepsUntilResting; ++step) rounds.step(keeper);
    ASSERT_TRUE(keeper.rests());
    Rounds better(100);
    for (int step = 1; step < kStepsOfRest; ++step) better.step(keeper);
    EXPECT_TRUE(keeper.rests());
    better.step(keeper);
    EXPECT_FALSE(keeper.rests());
}

TEST(RoleKeeper, BelievesNoSpeedThatHasBroughtNothing) {
    Rounds rounds(1);
    RoleKeeper keeper = keeper_of(140);
    for (int step = 0; step < 20; ++step) {
        std::vector<double> speeds(8, 1e6);
        for (std::size_t i = 0; i < 8; ++i) rounds.verdict.contributors[i].weight = i == 0 ? 20 : 0.01;
        keeper.step_taken(rounds.verdict, speeds, Rounds::kSpeed, 2, 3);
    }
    EXPECT_FALSE(keeper.rests()) << "the others have brought next to nothing";
}

TEST(RoleKeeper, JudgesNothingWithoutLines) {
    Rounds rounds(1);
    rounds.verdict.lines.clear();
    RoleKeeper keeper = keeper_of(140);
    const std::vector<double> speeds(8, 10);
    for (int step = 0; step < 20; ++step) keeper.step_taken(rounds.verdict, speeds, 10, 2, 3);
    EXPECT_FALSE(keeper.rests());
}

// ---- whole swarms

constexpr double kPayloadScale = 250;

/// A vector takes a megabyte of the lines.
sim::InternetSettings large_vectors() {
    sim::InternetSettings internet;
    internet.payload_scale = kPayloadScale;
    return internet;
}

/// @param upload  bytes per second
NodeOptions peer_on(double upload) {
    NodeOptions options = speed(8, 500ms);
    options.upload_bandwidth = upload / kPayloadScale;
    options.download_bandwidth = 1'000'000 / kPayloadScale;
    options.host.upload_rate = upload;
    options.host.download_rate = 1'000'000;
    return options;
}

void train_with_a_slow_uplink(Swarm& swarm, bool choose_roles) {
    swarm.settings.choose_roles = choose_roles;
    swarm.settings.parameters = 1'000;
    for (int i = 0; i < 4; ++i) swarm.add(peer_on(1'000'000));
    swarm.add(peer_on(100'000));
    EXPECT_TRUE(swarm.finishes(3000s));
}

/// From the tenth to the last of thirty steps.
double step_seconds(const Swarm& swarm) {
    const auto& steps = swarm.nodes[0]->seen->steps;
    return seconds(steps.at(Step{30}).when - steps.at(Step{10}).when) / 20;
}

class ChosenRoles : public ::testing::TestWithParam<std::uint64_t> {};

TEST_P(ChosenRoles, ASlowUplinkRestsAndTheOthersAreFaster) {
    Swarm all(GetParam(), 256, 30, large_vectors()), chosen(GetParam(), 256, 30, large_vectors());
    train_with_a_slow_uplink(all, false);
    train_with_a_slow_uplink(chosen, true);
    EXPECT_GT(step_seconds(all), 1.5 * step_seconds(chosen));
    chosen.expect_identical();
    chosen.expect_equal_to_one_machine();
    const Verdict& last = chosen.nodes[0]->seen->averaged.at(Step{29});
    ASSERT_EQ(last.contributors.size(), 5U);
    for (const Contributor& member : last.contributors)
        EXPECT_EQ(member.weight == 0, member.peer == chosen.nodes[4]->peer.id);
}

/// Only the one that rests is left: it must not wait for ever.
TEST_P(ChosenRoles, WhoRestsComputesAgainWhenTheOthersAreGone) {
    Swarm swarm(GetParam(), 256, 60, large_vectors());
    swarm.settings.choose_roles = true;
    swarm.settings.parameters = 1'000;
    for (int i = 0; i < 4; ++i) swarm.add(peer_on(1'000'000));
    swarm.add(peer_on(100'000));
    ASSERT_TRUE(swarm.run_until([&] { return swarm.nodes[4]->trainer->step() >= Step{10}; }, 3000s));
    const PeerId resting = swarm.nodes[4]->peer.id;
    for (const Contributor& member : swarm.nodes[4]->seen->averaged.at(Step{9}).contributors)
        EXPECT_EQ(member.weight == 0, member.peer == resting);
    for (std::size_t i = 0; i < 4; ++i) swarm.crash(swarm.nodes[i]);
    EXPECT_TRUE(swarm.run_until([&] { return swarm.nodes[4]->trainer->step() >= Step{13}; }, 3000s));
}

INSTANTIATE_TEST_SUITE_P(Seeds, ChosenRoles, ::testing::Range<std::uint64_t>(0, 3));

}  // namespace
}  // namespace shoal::collective
