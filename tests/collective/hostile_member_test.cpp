// A member whose messages are changed on their way out, of every kind and at any time. The honest peers'
// parameters become what the honest protocol gives for the contributions that were averaged, or the round
// fails and says why.
#include "collective/averager_harness.h"
#include "collective/mutating_network.h"
#include "collective/training_support.h"

#include <gtest/gtest.h>
#include <ostream>

namespace shoal::collective {

std::ostream& operator<<(std::ostream& out, const Attack& attack) {
    return out << attack.name;
}

namespace {

using namespace testing_support;

class HostileMember : public ::testing::TestWithParam<Attack> {
  protected:
    std::shared_ptr<Damage> damage_ = std::make_shared<Damage>();
};
class HostileInARound : public HostileMember {};
class HostileInTraining : public HostileMember {};

void expect_true_average(AveragerSwarm& swarm, const AveragerSwarm::Peer& peer) {
    const std::vector<double> expected = swarm.reference(peer.verdict->contributors);
    for (std::size_t k = 0; k < expected.size(); ++k)
        ASSERT_NEAR(peer.result[k], expected[k], 1e-5 * (1 + std::abs(expected[k]))) << k;
}

TEST_P(HostileInARound, GivesNoHonestPeerAWrongAverage) {
    int averaged = 0, failed = 0;
    for (std::uint64_t seed = 1; seed <= 30; ++seed) {
        SCOPED_TRACE("seed " + std::to_string(seed));
        damage_->random = Random(seed);
        AveragerSwarm swarm(seed);
        swarm.retry = true;
        for (int i = 0; i < 3; ++i) swarm.add(Role::full, i + 1);
        swarm.add(Role::full, 2, 0, {}, attacking(GetParam(), damage_));
        swarm.start_all();
        ASSERT_TRUE(swarm.finish(300s));
        for (std::size_t i = 0; i < 3; ++i) {
            const AveragerSwarm::Peer& peer = swarm[i];
            ASSERT_TRUE(peer.verdict);
            if (peer.verdict->outcome == Verdict::Outcome::averaged) {
                ++averaged;
                expect_true_average(swarm, peer);
            }
            for (const Verdict& verdict : peer.history) {
                if (verdict.outcome == Verdict::Outcome::averaged) continue;
                ++failed;
                EXPECT_FALSE(verdict.cause.empty());
            }
        }
    }
    EXPECT_GE(averaged, 10) << "and " << failed << " failed";
    EXPECT_GE(damage_->messages, 30) << "the attack hardly happened";
}

INSTANTIATE_TEST_SUITE_P(, HostileInARound,
                         ::testing::Values(Attack{"match", "/match", 2}, Attack{"reduce", "/reduce", 4},
                                           Attack{"vote", "/vote", 4}, Attack{"anything", "", 10},
                                           Attack{"everything", "", 1}),
                         [](const auto& value) { return value.param.name; });

/// Three honest peers and a hostile one train; honest ones join midway, so that the hostile one has state to
/// give.
TEST_P(HostileInTraining, ChangesNoParameterOfTheHonest) {
    for (std::uint64_t seed = 1; seed <= 5; ++seed) {
        SCOPED_TRACE("seed " + std::to_string(seed));
        damage_->random = Random(seed);
        Swarm swarm(seed, 64, 24);
        swarm.faults_expected = true;  // it may promise samples that never come
        swarm.add(speed(4, 50ms));
        swarm.add(speed(8, 130ms));
        swarm.add(speed(2, 40ms));
        NodeOptions hostile = speed(4, 60ms);
        hostile.between = attacking(GetParam(), damage_);
        swarm.add(hostile);
        for (const int step : {6, 9, 12}) {
            ASSERT_TRUE(swarm.run_until([&] { return swarm.highest_step() >= step; }, 120s));
            swarm.add(speed(8, 100ms));
        }
        const auto honest_have_finished = [&swarm] {
            return std::all_of(swarm.nodes.begin(), swarm.nodes.end(), [](const NodePointer& node) {
                return node->finished || node->options.between || !node->failure.empty();
            });
        };
        ASSERT_TRUE(swarm.run_until(honest_have_finished, 300s)) << "at step " << swarm.highest_step();
        swarm.expect_identical();
        swarm.expect_equal_to_one_machine();
    }
    EXPECT_GE(damage_->messages, 3) << "the attack hardly happened";
}

INSTANTIATE_TEST_SUITE_P(, HostileInTraining,
                         ::testing::Values(Attack{"progress", "/progress", 2}, Attack{"state", "/state", 2},
                                           Attack{"everything", "", 1}),
                         [](const auto& value) { return value.param.name; });

}  // namespace
}  // namespace shoal::collective
