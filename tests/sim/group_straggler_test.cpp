// Peers of very different speeds that average in groups: all take part in most rounds, little of what they
// compute is lost, and nothing counts twice.
#include <gtest/gtest.h>

#include "shoal/sim/event_log.h"
#include "shoal/sim/invariants.h"
#include "shoal/sim/swarm.h"

namespace shoal::sim {
namespace {

using namespace std::chrono_literals;

constexpr std::int64_t kSteps = 60, kMicroBatch = 8;

/// Seconds of a micro-batch; all together compute the batch in about one second.
struct Kind {
    double seconds;
    int count;
};

SwarmSettings settings_for(const std::vector<Kind>& kinds, bool adaptive) {
    double speed = 0;
    for (const Kind& kind : kinds) speed += kind.count * kMicroBatch / kind.seconds;
    SwarmSettings settings;
    settings.group_size = 4;
    settings.adaptive_quorum = adaptive;
    settings.target_batch_size = static_cast<std::int64_t>(speed);
    settings.last_step = kSteps;
    settings.parameters = 16;
    return settings;
}

double counted(const Node& node) {
    double samples = 0;
    for (const auto& [step, verdict] : node.seen->averaged)
        for (const collective::Contributor& member : verdict.contributors)
            if (member.peer == node.peer.id) samples += member.weight;
    return samples;
}

struct Plan {
    std::uint64_t seed;
    bool adaptive;
};

class Stragglers : public ::testing::TestWithParam<Plan> {};
INSTANTIATE_TEST_SUITE_P(Seeds, Stragglers,
                         ::testing::Values(Plan{1, false}, Plan{2, false}, Plan{3, false}, Plan{4, false},
                                           Plan{5, false}, Plan{10, false}, Plan{19, false}, Plan{4, true},
                                           Plan{9, true}, Plan{10, true}, Plan{13, true}, Plan{16, true}));

TEST_P(Stragglers, TakePartInMostRoundsAndLoseLittle) {
    const std::vector<Kind> kinds = {{0.2, 8}, {0.7, 8}, {1.2, 8}, {3.0, 8}};
    Swarm swarm(GetParam().seed, settings_for(kinds, GetParam().adaptive));
    EventLog log;
    Invariants invariants(swarm, 32, log);
    for (const Kind& kind : kinds)
        for (int i = 0; i < kind.count; ++i) {
            NodeOptions options;
            options.samples = kMicroBatch;
            options.time = from_seconds(kind.seconds);
            options.time_jitter = 0.1;
            swarm.add(options);
            invariants.watch(swarm.nodes.size() - 1);
        }
    const TimePoint begin = swarm.now();
    ASSERT_TRUE(swarm.finishes(20min));
    const double step_seconds = seconds(swarm.now() - begin) / kSteps;
    for (const std::string& violation : invariants.violations()) ADD_FAILURE() << violation;
    // Of 20 seeds the worst but one had 89.2 % of all peer-steps (of those that take up to 1.2 batches for a
    // micro-batch), 70 % of a peer's and 92 % of the samples; with an adaptive quorum, which leaves out those
    // for whom it is not worth waiting, 85.0, 53 and 95 %. When a few quick ones have run ahead, the swarm
    // goes apart for some steps: seed 20 had 70 % of all peer-steps. The next worst seeds are among these.
    const bool adaptive = GetParam().adaptive;
    const double in_rounds = adaptive ? 0.83 : 0.87, of_each = adaptive ? 0.5 : 0.66;
    const double of_samples = 0.9, of_the_slowest = 0.75;
    double rounds_of_all = 0, peer_steps = 0;
    std::size_t index = 0;
    for (const Kind& kind : kinds)
        for (int i = 0; i < kind.count; ++i, ++index) {
            const Node& node = *swarm.nodes[index];
            const auto rounds = static_cast<double>(node.seen->averaged.size());
            const auto computed = static_cast<double>(node.compute->samples_computed());
            SCOPED_TRACE("a micro-batch takes " + std::to_string(kind.seconds) + " s, a step " +
                         std::to_string(step_seconds) + " s");
            // What it had when the others ended is nobody's loss.
            EXPECT_GE(counted(node) + kMicroBatch,
                      (kind.seconds > 1.2 ? of_the_slowest : of_samples) * computed);
            if (kind.seconds > 1.2) continue;
            EXPECT_GE(rounds, of_each * kSteps);
            rounds_of_all += rounds;
            peer_steps += kSteps;
        }
    EXPECT_GE(rounds_of_all, in_rounds * peer_steps);
}

}  // namespace
}  // namespace shoal::sim
