// What is told of a swarm by the logs of its peers.
#include "shoal/lab/swarm_steps.h"

#include "run/temporary_folder.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

namespace shoal::lab {
namespace {

using run::TemporaryFolder;
using run::write_whole;

std::string step_line(double time, int step, int samples, const std::string& digest) {
    return fmt::format(
               R"({{"time":{},"event":"step","step":{},"swarm_loss":1.5,"samples":{},"digest":"{}"}})", time,
               step, samples, digest) +
           "\n";
}

SwarmSteps steps_at(const std::vector<double>& times) {
    SwarmSteps steps;
    for (const double time : times) {
        StepLine line;
        line.time = time, line.samples = 100;
        steps[static_cast<std::int64_t>(steps.size()) + 1] = line;
    }
    return steps;
}

TEST(PeerLog, PassesOverWhatAnEarlierProcessWrote) {
    const TemporaryFolder folder;
    const std::string old = step_line(10, 7, 100, "a") + R"({"time":10.5,"event":"st)";
    const std::string fresh = step_line(20, 9, 100, "b");
    const auto file = folder / "metrics.jsonl";
    write_whole(file, old);
    PeerLog log(file, static_cast<std::streamoff>(old.size()));
    EXPECT_TRUE(log.update().empty());
    EXPECT_TRUE(log.steps.empty());
    write_whole(file, old + fresh);
    log.update();
    ASSERT_EQ(log.steps.size(), 1U);
    EXPECT_EQ(log.steps.at(9).time, 20);
    PeerLog whole(file);
    whole.update();
    EXPECT_EQ(whole.steps.count(7), 1U);
}

TEST(PeerLog, BeginsAnewWithAFileThatBeganAnew) {
    const TemporaryFolder folder;
    const auto file = folder / "metrics.jsonl";
    write_whole(file, step_line(20, 9, 100, "b"));
    PeerLog log(file, 100000);
    log.update();
    EXPECT_EQ(log.steps.count(9), 1U);
}

TEST(SwarmSteps, AreThoseOfWhomeverTookThemFirst) {
    const TemporaryFolder folder;
    write_whole(folder / "a", step_line(10, 1, 100, "x") + step_line(21, 2, 110, "y"));
    write_whole(folder / "b", step_line(11, 1, 100, "x") + step_line(20, 2, 120, "z"));
    PeerLog a(folder / "a"), b(folder / "b");
    a.update(), b.update();
    const SwarmSteps steps = steps_of({&a, &b});
    ASSERT_EQ(steps.size(), 2U);
    EXPECT_EQ(steps.at(1).time, 10);
    EXPECT_EQ(steps.at(2).samples, 120);
    EXPECT_EQ(disagreements({&a, &b}), 1U);
    EXPECT_EQ(disagreements({&a, &a}), 0U);
}

TEST(SwarmSteps, CountWithinTheirTimeAlsoWhereNoneIsTaken) {
    const SwarmSteps steady = steps_at({0, 10, 20, 30, 40, 50});
    EXPECT_NEAR(stretch_within(steady, 10, 40).samples_per_second(), 10, 1e-9);
    EXPECT_NEAR(stretch_within(steady, 15, 35).samples_per_second(), 10, 1e-9) << "parts of steps count";
    EXPECT_NEAR(stretch_within(steady, 15, 35).steps, 2, 1e-9);
    EXPECT_NEAR(stretch_within(steady, 15, 35).samples_per_step(), 100, 1e-9);
    EXPECT_NEAR(stretch_within(steady, 12, 14).steps, 0.2, 1e-9);
    // Nothing from 20 on, until after the end.
    const SwarmSteps stalled = steps_at({0, 10, 20, 100});
    EXPECT_NEAR(stretch_within(stalled, 10, 40).samples, 100 + 100 * 20.0 / 80, 1e-9);
    EXPECT_NEAR(stretch_within(steps_at({0, 10, 20}), 10, 40).samples, 100, 1e-9);
    EXPECT_EQ(stretch_within({}, 0, 100).steps, 0);
    EXPECT_EQ(stretch_within({}, 0, 100).samples_per_step(), 0);
}

}  // namespace
}  // namespace shoal::lab
