// Bandwidths that nobody was told: swarms on unequal simulated lines, round after round.
#include "averager_harness.h"
#include "split_support.h"

#include <gtest/gtest.h>

#include "shoal/collective/work_split.h"

namespace shoal::collective {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t kElements = 1'000'000;
constexpr double kBytes = 4.0 * kElements;

SwarmSettings large_vectors() {
    SwarmSettings settings;
    settings.elements = kElements;
    settings.chunk_elements = 16384;
    return settings;
}

class Lines {
  public:
    explicit Lines(std::uint64_t seed) : swarm(seed, large_vectors()) {}

    /// @param claim  0: as measured
    void add(double upload, double download, double claim = 0) {
        sim::HostSettings host;
        host.upload_rate = upload;
        host.download_rate = download;
        swarm.add(Role::full, 1, claim, host);
        lines_.push_back(full_member(upload, download));
    }

    /// Seconds that the round of this step takes.
    double round(int step) {
        swarm.start_all(Step{step});
        EXPECT_TRUE(swarm.finish(1h));
        double longest = 0;
        for (std::size_t i = 0; i < swarm.size(); ++i) {
            EXPECT_TRUE(swarm[i].verdict) << i;
            if (!swarm[i].verdict) return 0;
            EXPECT_EQ(swarm[i].verdict->outcome, Verdict::Outcome::averaged) << swarm[i].verdict->cause;
            longest = std::max(longest, swarm[i].verdict->report.reduce_seconds);
        }
        return longest;
    }

    double best() const { return kBytes * split_shortest(lines_).seconds; }
    double equal() const { return kBytes * split_cost(equal_split(lines_), lines_); }

    AveragerSwarm swarm;

  private:
    std::vector<SplitMember> lines_;
};

void add_unequal(Lines& lines, bool told) {
    for (const double rate : {8e6, 8e6, 4e6, 4e6, 4e6, 4e6, 2e6, 2e6}) lines.add(rate, rate, told ? rate : 0);
}

TEST(MeasuredSplit, unequal_lines_come_to_the_right_split_within_a_few_rounds) {
    Lines told(1), measured(1);
    add_unequal(told, true);
    add_unequal(measured, false);
    told.round(1);
    const double right = told.round(2);
    EXPECT_LT(right, 1.25 * told.best());
    EXPECT_GT(measured.round(1), 0.9 * measured.equal());
    for (int step = 2; step <= 5; ++step) EXPECT_LT(measured.round(step), 1.15 * right) << step;
    // The lines themselves, from the traffic of five rounds.
    for (std::size_t i = 0; i < 8; ++i) {
        const double rate = i < 2 ? 8e6 : i < 6 ? 4e6 : 2e6;
        EXPECT_NEAR(measured.swarm[i].averager->upload(), rate, 0.15 * rate) << i;
        EXPECT_NEAR(measured.swarm[i].averager->download(), rate, 0.25 * rate) << i;
    }
}

TEST(MeasuredSplit, uploads_slower_than_downloads_are_found) {
    Lines lines(3);
    for (int i = 0; i < 3; ++i) lines.add(2e6, 8e6);
    lines.add(8e6, 8e6);
    for (int step = 1; step <= 3; ++step) lines.round(step);
    EXPECT_NEAR(lines.swarm[0].averager->upload(), 2e6, 0.3e6);
    EXPECT_GT(lines.swarm[0].averager->download(), 2.5e6);
    EXPECT_NEAR(lines.swarm[3].averager->upload(), 8e6, 1.6e6);
    EXPECT_LT(lines.round(4), 0.8 * lines.equal());
}

TEST(MeasuredSplit, who_claims_a_thousand_times_its_line_slows_the_rounds_not_for_long) {
    Lines lines(2);
    for (int i = 0; i < 7; ++i) lines.add(4e6, 4e6);
    lines.add(4e6, 4e6, 4e9);
    const double honest = lines.round(1);  // nobody else claims anything yet: no split follows from that
    EXPECT_LT(honest, 1.2 * lines.best());
    EXPECT_GT(lines.round(2), 3 * lines.best());
    for (int step = 3; step <= 14; ++step) EXPECT_LT(lines.round(step), 1.5 * lines.best()) << step;
}

}  // namespace
}  // namespace shoal::collective
