// The benchmarks run to their end and report what they should. How fast things are is for them to say.
#include "run/program.h"
#include "run/temporary_folder.h"

#include <fstream>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace shoal::lab {
namespace {

using run::Program;
using run::program_folder;
using run::TemporaryFolder;

nlohmann::json result_of(std::vector<std::string> arguments) {
    const TemporaryFolder folder;
    arguments.insert(arguments.begin(), "bench");
    arguments.insert(arguments.end(), {"--json", folder / "result.json"});
    Program bench(program_folder() / "shoal", std::move(arguments), folder.path());
    EXPECT_EQ(bench.wait(std::chrono::seconds(300)), 0) << bench.errors();
    std::ifstream file(folder / "result.json");
    return nlohmann::json::parse(file);
}

TEST(BenchAllReduce, measures_every_contestant) {
    const nlohmann::json result =
        result_of({"allreduce", "--peers", "2", "--size", "256KiB", "--turns", "1", "--rounds", "2"});
    ASSERT_EQ(result.at("cases").size(), 1U);
    const nlohmann::json& one = result.at("cases").at(0);
    EXPECT_EQ(one.at("peers"), 2);
    EXPECT_EQ(one.at("bytes"), 256 * 1024);
    EXPECT_EQ(one.at("contestants").size(), 5U);  // with TLS and without; gloo, Open MPI, bare TCP
    for (const nlohmann::json& contestant : one.at("contestants")) {
        EXPECT_GT(contestant.at("best_seconds").get<double>(), 0) << contestant;
        EXPECT_GE(contestant.at("median_seconds").get<double>(), contestant.at("best_seconds").get<double>());
    }
    EXPECT_GT(one.at("limit_seconds").get<double>(), 0);
    double shares = 0;
    for (const auto& [name, share] : one.at("shares").items()) {
        EXPECT_GE(share.get<double>(), 0) << name;
        shares += share.get<double>();
    }
    EXPECT_NEAR(shares, 1, 1e-6);
}

TEST(BenchAllReduce, runs_every_combination_that_is_asked_for) {
    const nlohmann::json result =
        result_of({"allreduce", "--peers", "2,3", "--size", "1KiB,64KiB", "--turns", "1", "--rounds", "2"});
    std::vector<std::pair<int, int>> cases;
    for (const nlohmann::json& one : result.at("cases"))
        cases.emplace_back(one.at("peers").get<int>(), one.at("bytes").get<int>());
    EXPECT_EQ(cases, (std::vector<std::pair<int, int>>{{2, 1024}, {2, 65536}, {3, 1024}, {3, 65536}}));
}

TEST(BenchRound, splits_a_round_into_its_phases) {
    const nlohmann::json result = result_of({"round", "--peers", "2", "--size", "64KiB", "--rounds", "5"});
    for (const char* phase : {"match_seconds", "reduce_seconds", "vote_seconds", "exchange_seconds"})
        EXPECT_GT(result.at(phase).get<double>(), 0) << phase;
    EXPECT_GT(result.at("whole_seconds").get<double>(), result.at("reduce_seconds").get<double>() / 2);
}

TEST(BenchDht, counts_every_operation_also_with_dead_nodes) {
    const nlohmann::json result = result_of({"dht", "--nodes", "5", "--operations", "6"});
    EXPECT_EQ(result.at("nodes"), 5);
    int phases = 0;
    for (const auto& [name, phase] : result.items()) {
        if (!phase.is_object()) continue;
        ++phases;
        for (const auto& [operation, figures] : phase.items()) {
            EXPECT_GT(figures.at("tried").get<int>(), 0) << name << " " << operation;
            EXPECT_GE(figures.at("success").get<double>(), 0.9) << name << " " << operation;
        }
    }
    EXPECT_EQ(phases, 3);
}

}  // namespace
}  // namespace shoal::lab
