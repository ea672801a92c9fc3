// A peer's memory does not grow with the rounds that fail.
#include "averager_harness.h"
#include "sanitizer.h"

#include <gtest/gtest.h>
#include <limits>
#include <malloc.h>

#ifdef SHOAL_ADDRESS_SANITIZER
#include <sanitizer/allocator_interface.h>
#endif

namespace shoal::collective {
namespace {

#ifdef SHOAL_ADDRESS_SANITIZER
constexpr std::int64_t kRounds = 2000;  // each takes ten times as long
#else
constexpr std::int64_t kRounds = 10000;
#endif

/// Bytes that are allocated and not freed.
std::size_t live_bytes() {
#ifdef SHOAL_ADDRESS_SANITIZER
    return __sanitizer_get_current_allocated_bytes();
#else
    const struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
#endif
}

/// Rounds that fail, for one reason after the other: a contribution that is no number, a connection cut in
/// the middle.
void fail_rounds(AveragerSwarm& swarm, std::int64_t first, std::int64_t last) {
    constexpr float kNoNumber = std::numeric_limits<float>::quiet_NaN();
    for (std::int64_t step = first; step < last; ++step) {
        const bool by_cut = step % 2 == 1;
        swarm[1].contribution[7] = by_cut ? 1.0f : kNoNumber;
        swarm.start_all(static_cast<Step>(step));
        if (by_cut) {
            swarm.simulation().run_for(std::chrono::milliseconds(3));
            swarm[0].network->disconnect(swarm[1].id, "cut by the test");
        }
        ASSERT_TRUE(swarm.finish()) << "round " << step;
        std::size_t failed = 0;
        for (std::size_t i = 0; i < swarm.size(); ++i) {
            failed += swarm[i].verdict->outcome == Verdict::Outcome::failed ? 1 : 0;
            swarm[i].history.clear();
        }
        ASSERT_EQ(failed, swarm.size()) << "round " << step;
    }
}

TEST(Memory, stays_flat_over_ten_thousand_failed_rounds) {
    SwarmSettings settings;
    settings.elements = 24;
    AveragerSwarm swarm(1, settings);
    for (int i = 0; i < 3; ++i) swarm.add();
    swarm.start_all(Step{1});
    ASSERT_TRUE(swarm.finish());
    ASSERT_EQ(swarm[0].verdict->outcome, Verdict::Outcome::averaged) << "now all are connected";
    fail_rounds(swarm, 2, kRounds / 10);
    const std::size_t early = live_bytes();
    fail_rounds(swarm, kRounds / 10, kRounds + 2);
    // What a round leaves behind is less than the smallest block of memory.
    EXPECT_LT(live_bytes(), early + 16 * static_cast<std::size_t>(kRounds));
}

}  // namespace
}  // namespace shoal::collective
