// Scenario files: what they say is what is simulated, and what is wrong in them is named with its line.
#include "shoal/sim/scenario.h"

#include <gtest/gtest.h>

#include "shoal/base/error.h"
#include "shoal/sim/scenario_report.h"

namespace shoal::sim {
namespace {

constexpr const char* kTwoPeers = R"([scenario]
target_batch_size = 64
steps = 4
payload_megabytes = 1

[[peers]]
name = "worker"
count = 2
upload = 80
download = 80
samples_per_second = 20
)";

std::string error_of(const std::string& toml) {
    try {
        parse_scenario(toml, "mine.toml");
    } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::bad_input);
        return error.what();
    }
    return "nothing";
}

TEST(ScenarioFile, SaysWhatItSays) {
    const Scenario scenario = parse_scenario(kTwoPeers, "folder/two-peers.toml");
    EXPECT_EQ(scenario.name, "two-peers");
    EXPECT_EQ(scenario.target_batch_size, 64);
    EXPECT_EQ(scenario.steps, 4);
    EXPECT_DOUBLE_EQ(scenario.payload_bytes, 1e6);
    ASSERT_EQ(scenario.peers.size(), 1U);
    EXPECT_EQ(scenario.peers[0].count, 2);
    EXPECT_DOUBLE_EQ(scenario.peers[0].upload, 10e6);  // 80 Mbit/s in bytes
    EXPECT_EQ(scenario.peers[0].role, collective::Role::full);
}

TEST(ScenarioFile, MistakesAreNamedWithTheirLine) {
    const std::string base = kTwoPeers;  // 11 lines
    EXPECT_EQ(error_of(base + "uplaod = 3\n"),
              "mine.toml:12: unknown key \"uplaod\"; did you mean \"upload\"?");
    EXPECT_EQ(error_of(base + "micro_batch = 0\n"),
              "mine.toml:12: micro_batch must lie between 1 and 1000000, not be 0");
    EXPECT_EQ(error_of(base + "micro_batch = 1.5\n"), "mine.toml:12: micro_batch must be a whole number");
    EXPECT_EQ(error_of(base + "latency_ms = nan\n"),
              "mine.toml:12: latency_ms must lie between 0 and 10000, not be nan");
    EXPECT_EQ(error_of(base + "role = \"boss\"\n"),
              "mine.toml:12: role must be one of full, client, auxiliary, not \"boss\"");
    EXPECT_EQ(error_of(base + "region = \"mars\"\n"),
              "mine.toml:1: peers \"worker\": there is no region \"mars\"");
    EXPECT_EQ(error_of(base + "[[events]]\nwhat = \"heal\"\npeers = [\"nobody\"]\n"),
              "mine.toml:1: the event at 0 s names peers \"nobody\", which there are not");
    EXPECT_EQ(error_of(base + "[[events]]\nwhat = \"partition\"\n"),
              "mine.toml:1: the partition at 0 s needs `peers`: who finds itself apart");
    EXPECT_EQ(error_of(base + "[weather]\n"),
              "mine.toml:12: unknown section \"weather\"; there are scenario, peers and events");
    EXPECT_EQ(error_of("[scenario]\n"), "mine.toml:1: a scenario needs [[peers]]");
    EXPECT_EQ(error_of(base + "count = 3\n").substr(0, 13), "mine.toml:12:");
    EXPECT_NE(error_of("peers = 3\n").find("write [[peers]]"), std::string::npos);
    EXPECT_NE(error_of("scenario = 3\n").find("write [scenario]"), std::string::npos);
}

TEST(ScenarioFile, TheNumberOfPeersIsHeldToItsBound) {
    const std::string one = "[[peers]]\nname = \"a\"\ncount = ";
    EXPECT_EQ(parse_scenario(one + "10000\n", "x.toml").peer_count(), 10000);
    EXPECT_NE(error_of(one + "10001\n").find("between 1 and 10000"), std::string::npos);
    EXPECT_NE(error_of(one + "10000\n[[peers]]\nname = \"b\"\n").find("10001 peers are too many"),
              std::string::npos);
}

TEST(ScenarioFile, EveryReadyScenarioIsSound) {
    EXPECT_EQ(ready_scenarios().size(), 14U);
    for (const ReadyScenario& ready : ready_scenarios()) {
        const Scenario scenario = load_scenario(std::string(ready.name));
        EXPECT_EQ(scenario.name, ready.name);
        EXPECT_FALSE(scenario.about.empty()) << ready.name;
    }
    EXPECT_THROW(load_scenario("no such scenario"), Error);
}

TEST(ScenarioFile, AllKeysAreExplained) {
    const std::string keys = scenario_keys();
    for (const char* key : {"target_batch_size", "region_latency_ms", "median_session", "factor"})
        EXPECT_NE(keys.find(std::string("  ") + key), std::string::npos) << key;
}

TEST(ScenarioRun, StepsAreTakenAndEverySampleCounts) {
    const Scenario scenario = parse_scenario(kTwoPeers, "two-peers.toml");
    const ScenarioResult result = run_scenario(scenario, 1);
    EXPECT_TRUE(result.violations.empty());
    EXPECT_TRUE(result.one_history_checked);
    ASSERT_EQ(result.steps.size(), 4U);
    for (const StepSummary& step : result.steps) {
        EXPECT_GE(step.samples, 64);
        EXPECT_EQ(step.members, 2U);
    }
    EXPECT_LT(result.steps.back().loss, result.steps.front().loss);
    EXPECT_LE(result.samples_counted, result.samples_computed);
    EXPECT_GE(result.samples_counted, 4 * 64);
    // Both send half of the payload and get half of the other's result: 1 MB each way and step, and a little.
    const double megabytes = result.groups[0].bytes_sent / 1e6 / 2 / 4;
    EXPECT_GT(megabytes, 1.0);
    EXPECT_LT(megabytes, 1.1);
}

TEST(ScenarioRun, AveragingTakesItsIdealTimeOnUnequalLines) {
    for (const char* name : {"equal", "heterogeneous", "load-balanced", "auxiliary"}) {
        Scenario scenario = load_scenario(name);
        shorten(scenario);
        const ScenarioResult result = run_scenario(scenario, 1);
        ASSERT_GE(result.steps.size(), 2U) << name;
        for (const StepSummary& step : result.steps) {
            EXPECT_GE(step.reduce_seconds, 0.99 * scenario.ideal_averaging_seconds) << name;
            EXPECT_LE(step.reduce_seconds, 1.15 * scenario.ideal_averaging_seconds) << name;
        }
    }
}

TEST(ScenarioRun, LoadBalancingIsWorthWhatTheNotesSay) {
    std::map<std::string, double> seconds;
    for (const char* name : {"heterogeneous", "load-balanced"}) {
        Scenario scenario = load_scenario(name);
        shorten(scenario);
        seconds[name] = run_scenario(scenario, 2).steps.back().reduce_seconds;
    }
    EXPECT_GE(seconds["heterogeneous"] / seconds["load-balanced"], 1.6);
}

TEST(ScenarioRun, DelayedAveragingHidesBehindTheComputing) {
    std::map<bool, double> loss;
    Scenario scenario = load_scenario("delayed");
    scenario.steps = 12;
    for (const bool delayed : {false, true}) {
        scenario.delayed = delayed;
        const ScenarioResult result = run_scenario(scenario, 3);
        ASSERT_EQ(result.steps.size(), 12U);
        for (std::size_t i = 4; i < result.steps.size(); ++i) {
            if (delayed)
                EXPECT_LE(result.steps[i].seconds, 1.15 * scenario.ideal_step_seconds) << i;
            else
                EXPECT_GE(result.steps[i].seconds, 1.7 * scenario.ideal_step_seconds) << i;
        }
        loss[delayed] = result.steps.back().loss;
    }
    EXPECT_NEAR(loss[true], loss[false], 0.02 * loss[false]);
}

TEST(ScenarioRun, ASlowLineHoldsTheRoundsUpAndIsNamed) {
    const std::string toml = std::string(kTwoPeers) +
                             "[[peers]]\nname = \"slow\"\nupload = 4\ndownload = 80\n"
                             "samples_per_second = 20\n";
    const ScenarioResult result = run_scenario(parse_scenario(toml, "slow.toml"), 1);
    ASSERT_EQ(result.groups.size(), 2U);
    EXPECT_EQ(result.groups[1].bottleneck_upload, static_cast<std::int64_t>(result.steps.size()));
    EXPECT_EQ(result.groups[0].bottleneck_upload, 0);
}

TEST(ScenarioRun, EventsHappenAtTheirTime) {
    std::string toml = kTwoPeers;
    toml.replace(toml.find("steps = 4"), 9, "duration = 120");
    toml +=
        "[[peers]]\nname = \"victim\"\nsamples_per_second = 20\n"
        "[[events]]\nat = 30\nwhat = \"crash\"\npeers = [\"victim\"]\n"
        "[[events]]\nat = 60\nwhat = \"restart\"\npeers = [\"victim\"]\n"
        "[[events]]\nat = 90\nwhat = \"slow\"\npeers = [\"worker\"]\ncount = 1\n";
    const ScenarioResult result = run_scenario(parse_scenario(toml, "events.toml"), 3);
    EXPECT_TRUE(result.violations.empty());
    EXPECT_EQ(result.faults.at("crash"), 1);
    EXPECT_EQ(result.faults.at("slow"), 1);
    const std::vector<std::pair<double, std::size_t>> expected{{0, 1}, {0, 2}, {0, 3}, {30, 2}, {60, 3}};
    EXPECT_EQ(result.running, expected);
    EXPECT_GT(result.steps.back().at, 110);  // and it goes on to the end
}

TEST(ScenarioRun, SmallerSideOfAPartitionWaitsAndComesBack) {
    Scenario scenario = load_scenario("split-ocean");
    for (PeerGroup& group : scenario.peers) {
        group.count /= 4;
        group.samples_per_second *= 4;
    }
    scenario.target_batch_size = 1024;
    scenario.duration = 240;
    scenario.events[0].at = 80;
    scenario.events[1].at = 100;  // before anybody gives the quorum up
    const ScenarioResult result = run_scenario(scenario, 5);
    EXPECT_TRUE(result.violations.empty());
    EXPECT_TRUE(result.one_history_checked);
    std::size_t apart = 0, together = 0;
    for (const StepSummary& step : result.steps) {
        if (step.members == 4) ++apart;
        if (step.members == 6 && step.at > 100) ++together;
    }
    EXPECT_GT(apart, 0U);
    EXPECT_GT(together, 2U);
}

TEST(ScenarioRun, SameSeedGivesTheSameLogAndAnotherSeedAnother) {
    const Scenario scenario = parse_scenario(kTwoPeers, "two-peers.toml");
    const std::string first = run_scenario(scenario, 7).log;
    EXPECT_EQ(first, run_scenario(scenario, 7).log);
    EXPECT_NE(first, run_scenario(scenario, 8).log);
}

TEST(ScenarioReport, SaysWhatHappenedAndHoldsItAgainstItsDemands) {
    Scenario scenario = parse_scenario(kTwoPeers, "two-peers.toml");
    const ScenarioResult result = run_scenario(scenario, 1);
    const std::string table = scenario_table(scenario, result);
    EXPECT_NE(table.find("worker"), std::string::npos);
    EXPECT_NE(table.find("4 steps in"), std::string::npos);
    nlohmann::json json;
    add_to_json(scenario, result, json);
    EXPECT_EQ(json["steps"].size(), 4U);
    EXPECT_EQ(json["groups"][0]["peers"], 2);
    run::ResultOptions options;
    options.check = true;
    run::Result fine("test", options), short_of("test", options);
    demand_of_scenario(scenario, result, fine);
    EXPECT_EQ(fine.finish(), 0);
    scenario.ideal_averaging_seconds = 1e-3;  // less than any network can do
    demand_of_scenario(scenario, result, short_of);
    EXPECT_EQ(short_of.finish(), 1);
}

}  // namespace
}  // namespace shoal::sim
