// Swarms in which most peers are in client mode: no connection joins them, so each hears of the others'
// samples through the directory, many seconds late. Rounds must not go on without them.
#include <gtest/gtest.h>

#include "shoal/sim/event_log.h"
#include "shoal/sim/invariants.h"
#include "shoal/sim/swarm.h"

namespace shoal::sim {
namespace {

using namespace std::chrono_literals;

constexpr std::int64_t kSteps = 15;

struct Crowd {
    std::uint64_t seed;
    int full, clients;
};

class MostlyClients : public ::testing::TestWithParam<Crowd> {};
INSTANTIATE_TEST_SUITE_P(Seeds, MostlyClients,
                         ::testing::Values(Crowd{1, 8, 32}, Crowd{2, 8, 32}, Crowd{3, 2, 30},
                                           Crowd{4, 1, 12}));

TEST_P(MostlyClients, AreInTheRoundsAndLoseNothing) {
    const Crowd crowd = GetParam();
    constexpr double kClientSpeed = 6, kFullSpeed = 8, kStepSeconds = 8;
    SwarmSettings settings;
    settings.target_batch_size =
        static_cast<std::int64_t>(kStepSeconds * (crowd.full * kFullSpeed + crowd.clients * kClientSpeed));
    settings.last_step = kSteps;
    settings.parameters = 16;
    Swarm swarm(crowd.seed, settings);
    EventLog log;
    Invariants invariants(swarm, static_cast<std::size_t>(crowd.full + crowd.clients), log);
    for (int i = 0; i < crowd.full + crowd.clients; ++i) {
        NodeOptions options;
        options.role = i < crowd.full ? collective::Role::full : collective::Role::client;
        options.samples = i < crowd.full ? 4 : 3;
        options.time = 500ms;
        options.time_jitter = 0.1;
        swarm.add(options);
        invariants.watch(swarm.nodes.size() - 1);
    }
    ASSERT_TRUE(swarm.finishes(20min));
    for (const std::string& violation : invariants.violations()) ADD_FAILURE() << violation;
    double computed = 0, counted = 0;
    std::map<Step, double> of_step;
    for (const NodePointer& node : swarm.nodes) {
        EXPECT_GE(node->seen->averaged.size(), static_cast<std::size_t>(0.9 * kSteps));
        computed += static_cast<double>(node->compute->samples_computed());
        for (const auto& [step, verdict] : node->seen->averaged)
            for (const collective::Contributor& member : verdict.contributors) {
                if (member.peer != node->peer.id) continue;
                counted += member.weight;
                of_step[step] += member.weight;
            }
    }
    EXPECT_GE(counted, 0.95 * computed);
    // Whoever is in the middle of a micro-batch ends it: what a batch holds above its target.
    const auto target = static_cast<double>(settings.target_batch_size);
    const double under_way = 4 * crowd.full + 3 * crowd.clients;
    ASSERT_EQ(of_step.size(), static_cast<std::size_t>(kSteps));
    for (const auto& [step, samples] : of_step) {
        EXPECT_GE(samples, 0.95 * target) << value(step);
        EXPECT_LE(samples, target + 3 * under_way) << value(step);
    }
}

}  // namespace
}  // namespace shoal::sim
