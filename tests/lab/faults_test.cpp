// Six real processes; kill -9, SIGSTOP and cut connections hit a random one in every phase of a step.
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

// `shoal lab faults` ends with an error if the swarm stands still after a fault, if a peer that lives does
// not come back to contribute, if a newcomer does not train, or if a peer ends by itself. How long that takes
// on an idle machine is a benchmark's business; here nobody may stand still for the time that a vote, or a
// dial, waits at most, and all must hold the same parameters.
TEST(Faults, a_swarm_survives_each_fault_in_each_phase_with_equal_parameters_at_every_step) {
    const TemporaryFolder folder;
    Program faults(program_folder() / "shoal",
                   {"lab", "faults", "--folder", folder / "peers", "--json", folder / "faults.json"},
                   folder.path());
    ASSERT_EQ(faults.wait(std::chrono::seconds(500)), 0) << faults.output() << faults.errors();
    std::ifstream file(folder / "faults.json");
    const auto result = nlohmann::json::parse(file);
    std::set<std::string> struck;
    constexpr double kStandstill = 20, kNewcomer = 45;  // seconds, on a machine that does much else
    for (const auto& episode : result["episodes"]) {
        EXPECT_LT(episode["lost_seconds"], kStandstill) << episode;
        EXPECT_LT(episode["join_seconds"], kNewcomer) << episode;
        struck.insert(episode["fault"].get<std::string>() + " while it " +
                      episode["phase"].get<std::string>());
    }
    EXPECT_EQ(struck.size(), 18U);
    EXPECT_EQ(result["different_steps"], 0) << faults.output();
    EXPECT_GE(result["compared_steps"], 100);
}

}  // namespace
}  // namespace shoal::lab
