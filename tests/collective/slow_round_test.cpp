// Rounds and newcomers on slow lines: a member is waited for, however long a chunk takes it.
#include "collective/averager_harness.h"
#include "collective/training_support.h"

#include <gtest/gtest.h>

namespace shoal::collective {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t kChunkElements = 65536;  // 256 KiB, as in a real run

struct SlowLine {
    double rate;           ///< bytes per second, both ways
    std::size_t elements;  ///< of the vector
    bool known;            ///< to the work split
    double others;         ///< the rate of the others; 0: unlimited
};

class SlowRound : public ::testing::TestWithParam<SlowLine> {};

TEST_P(SlowRound, SucceedsWithAllMembers) {
    const SlowLine line = GetParam();
    SwarmSettings settings;
    settings.elements = line.elements;
    settings.chunk_elements = kChunkElements;
    AveragerSwarm swarm(1, settings);
    sim::HostSettings slow, fast;
    slow.upload_rate = slow.download_rate = line.rate;
    fast.upload_rate = fast.download_rate = line.others;
    swarm.add(Role::full, 1, line.known ? line.rate : 0, slow);
    for (int i = 0; i < 2; ++i) swarm.add(Role::full, 1, line.known ? 1e6 : 0, fast);
    swarm.start_all();
    ASSERT_TRUE(swarm.finish(10min));
    for (std::size_t i = 0; i < swarm.size(); ++i) {
        ASSERT_TRUE(swarm[i].verdict);
        EXPECT_EQ(swarm[i].verdict->outcome, Verdict::Outcome::averaged) << swarm[i].verdict->cause;
        EXPECT_EQ(swarm[i].verdict->contributors.size(), 3U);
        EXPECT_EQ(swarm[i].result, swarm[0].result);
    }
    // It sends two thirds of its vector, and a third of the results to each of two.
    const double ideal = 4.0 / 3 * 4 * static_cast<double>(line.elements) / line.rate;
    EXPECT_LT(seconds(swarm[0].ended.since_start), 1.2 * ideal);
}

std::vector<SlowLine> lines() {
    std::vector<SlowLine> all;
    for (const double rate : {100e3, 30e3})
        for (const std::size_t elements : {262'144U, 1'048'576U})
            for (const bool known : {false, true})
                for (const double others : {0.0, 1e6}) all.push_back({rate, elements, known, others});
    return all;
}

INSTANTIATE_TEST_SUITE_P(Lines, SlowRound, ::testing::ValuesIn(lines()));

struct SlowLife {
    double rate;          ///< bytes per second, both ways
    std::int64_t target;  ///< samples of a step, which then takes about as long as the download
};

class SlowNewcomer : public ::testing::TestWithParam<SlowLife> {};

TEST_P(SlowNewcomer, DownloadsTheStateAndContributes) {
    using testing_support::Swarm;
    Swarm swarm(7, GetParam().target, 40);
    swarm.settings.parameters = kChunkElements;
    swarm.settings.chunk_elements = kChunkElements;
    swarm.settings.state_chunk_bytes = 256 * 1024;
    sim::NodeOptions fast, slow;
    fast.time = 2s;
    fast.host.upload_rate = fast.host.download_rate = 1e6;
    for (int i = 0; i < 3; ++i) swarm.add(fast);
    ASSERT_TRUE(swarm.run_until([&] { return swarm.highest_step() == 10; }, 30min));
    slow.time = 2s;
    slow.host.upload_rate = slow.host.download_rate = GetParam().rate;
    const sim::NodePointer newcomer = swarm.add(slow);
    ASSERT_TRUE(swarm.finishes(60min));
    swarm.expect_identical();
    ASSERT_FALSE(newcomer->seen->synchronised.empty());
    EXPECT_GE(newcomer->seen->steps.size(), 15U);
    for (const sim::NodePointer& node : swarm.nodes) EXPECT_TRUE(node->seen->failures.empty());
}

/// A newcomer brings nothing to its first round, so all that the others hear of it are signs of life until
/// their contributions have passed its line.
TEST(SlowMemberThatBringsNothing, IsWaitedForThoughOthersStandInItsQueue) {
    for (const bool deep_queue : {false, true}) {
        for (std::uint64_t seed = 1; seed <= 4; ++seed) {
            SCOPED_TRACE("seed " + std::to_string(seed) + (deep_queue ? ", one deep queue" : ""));
            SwarmSettings settings;
            settings.elements = 62'500;
            settings.chunk_elements = 512;
            AveragerSwarm swarm(seed, settings);
            sim::HostSettings slow;
            slow.upload_rate = slow.download_rate = 30e3;
            slow.deep_queue = deep_queue;
            swarm.add(Role::full, 0, 0, slow);
            for (int i = 0; i < 4; ++i) swarm.add();
            swarm.start_all();
            ASSERT_TRUE(swarm.finish(5min));
            for (std::size_t i = 0; i < swarm.size(); ++i) {
                EXPECT_EQ(swarm[i].verdict->outcome, Verdict::Outcome::averaged) << swarm[i].verdict->cause;
                EXPECT_EQ(swarm[i].verdict->contributors.size(), 5U);
                EXPECT_EQ(swarm[i].result, swarm[0].result);
            }
        }
    }
}

struct SlowStart {
    double rate;      ///< of the newcomer's line, bytes per second, both ways
    bool deep_queue;  ///< before its downlink
};

/// The state takes two to four times as long as a step: the newcomer comes too late unless it is waited for.
class NewcomerSlowerThanAStep : public ::testing::TestWithParam<SlowStart> {};

TEST_P(NewcomerSlowerThanAStep, TrainsAndCostsTheSwarmNoStep) {
    using testing_support::Swarm;
    for (std::uint64_t seed = 1; seed <= 3; ++seed) {
        SCOPED_TRACE("seed " + std::to_string(seed));
        Swarm swarm(seed, 64, 1'000'000);
        swarm.settings.parameters = 62'500;  // 500 kB of state
        swarm.settings.chunk_elements = 512;
        swarm.settings.state_chunk_bytes = 64 * 1024;
        sim::NodeOptions fast, slow;
        fast.samples = slow.samples = 4;
        fast.time = slow.time = 1250ms;  // a step of four takes 5 s
        for (int i = 0; i < 4; ++i) swarm.add(fast);
        ASSERT_TRUE(swarm.run_until([&] { return swarm.highest_step() == 10; }, 30min));
        slow.host.upload_rate = slow.host.download_rate = GetParam().rate;
        slow.host.deep_queue = GetParam().deep_queue;
        const sim::NodePointer newcomer = swarm.add(slow);
        ASSERT_TRUE(swarm.run_until([&] { return newcomer->seen->steps.size() >= 10; }, 10min));
        EXPECT_LE(newcomer->seen->synchronised.size(), 3U);
        for (const sim::NodePointer& node : swarm.nodes) EXPECT_TRUE(node->seen->failures.empty());
        swarm.expect_identical();
    }
}

INSTANTIATE_TEST_SUITE_P(Lines, NewcomerSlowerThanAStep,
                         ::testing::Values(SlowStart(60e3, false), SlowStart(60e3, true),
                                           SlowStart(25e3, false), SlowStart(25e3, true)));

INSTANTIATE_TEST_SUITE_P(Rates, SlowNewcomer, ::testing::Values(SlowLife(100e3, 64), SlowLife(30e3, 256)));

}  // namespace
}  // namespace shoal::collective
