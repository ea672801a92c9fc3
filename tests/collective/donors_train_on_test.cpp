// Peers that give their state to newcomers go on training meanwhile.
#include "collective/training_support.h"

#include <gtest/gtest.h>

namespace shoal::collective {
namespace {

using namespace testing_support;

/// How long each step took of which a time lies between the two; seconds.
std::vector<double> step_times(const Recorder& seen, TimePoint from, TimePoint to) {
    std::vector<double> times;
    std::optional<TimePoint> last;
    for (const auto& [step, taken] : seen.steps) {
        if (last && taken.when >= from && *last <= to) times.push_back(seconds(taken.when - *last));
        last = taken.when;
    }
    return times;
}

TEST(Donors, TrainOnWhileThreeNewcomersOnFastLinesTakeTheirState) {
    for (std::uint64_t seed = 1; seed <= 3; ++seed) {
        SCOPED_TRACE("seed " + std::to_string(seed));
        Swarm swarm(seed, 64, 60);
        swarm.settings.parameters = 62'500;  // 500 kB of state, 250 kB of a gradient
        swarm.settings.chunk_elements = 4096;
        swarm.settings.state_chunk_bytes = 64 * 1024;
        NodeOptions trainer = speed(4, 250ms);  // a step of four takes 1 s, and the averaging
        trainer.host.upload_rate = trainer.host.download_rate = 1e6;
        for (int i = 0; i < 4; ++i) swarm.add(trainer);
        ASSERT_TRUE(swarm.run_until([&] { return swarm.highest_step() == 10; }, 10min));
        const TimePoint come = swarm.now();
        std::vector<NodePointer> newcomers;
        for (int i = 0; i < 3; ++i) newcomers.push_back(swarm.add(speed(4, 250ms)));
        const auto all_train = [&] {
            return std::all_of(newcomers.begin(), newcomers.end(), [](const NodePointer& node) {
                return node->seen->first_micro_batch.has_value();
            });
        };
        ASSERT_TRUE(swarm.run_until(all_train, 10min));
        const TimePoint trained = swarm.now();
        ASSERT_TRUE(swarm.run_until([&] { return swarm.highest_step() == 40; }, 10min));
        for (std::size_t i = 0; i < 4; ++i) {
            const Recorder& seen = *swarm.nodes[i]->seen;
            const std::vector<double> before = step_times(seen, TimePoint(), come - 1ns);
            const std::vector<double> meanwhile = step_times(seen, come, trained);
            ASSERT_GE(before.size(), 5U);
            ASSERT_FALSE(meanwhile.empty());
            std::vector<double> usual = before;
            std::nth_element(usual.begin(), usual.begin() + 4, usual.end());
            EXPECT_LT(*std::max_element(meanwhile.begin(), meanwhile.end()), 2 * usual[4]);
            EXPECT_TRUE(seen.failures.empty());
        }
        swarm.expect_identical();
    }
}

}  // namespace
}  // namespace shoal::collective
