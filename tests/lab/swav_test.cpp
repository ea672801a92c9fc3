// Three unequal processes learn from images without labels, and so does one.
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

TEST(SwavLab, three_unequal_peers_and_one_learn_features_that_beat_random_ones) {
    const TemporaryFolder folder;
    Program swav(program_folder() / "shoal",
                 {"lab", "swav", "--quick", "--check", "--folder", folder / "swav", "--json",
                  folder / "swav.json", "--plot", folder / "swav.png"},
                 folder.path());
    ASSERT_EQ(swav.wait(std::chrono::seconds(550)), 0) << swav.output() << swav.errors();
    std::ifstream file(folder / "swav.json");
    const auto result = nlohmann::json::parse(file);
    EXPECT_EQ(result["size"], "quick");
    EXPECT_EQ(result["steps"], 60);
    const auto& accuracy = result["accuracy"];
    EXPECT_GT(accuracy["swarm"].get<double>(), accuracy["random"].get<double>() + 2);
    EXPECT_GT(accuracy["one"].get<double>(), accuracy["random"].get<double>() + 2);
    ASSERT_EQ(result["samples"].size(), 3U);
    for (const auto& samples : result["samples"]) EXPECT_GT(samples, 0);
    EXPECT_GT(std::filesystem::file_size(folder / "swav.png"), 1000U);

    // What the lab has left behind, by hand.
    const auto checkpoints = folder / "swav/peers/swarm-2/checkpoints";
    Program probe(program_folder() / "shoal",
                  {"probe", folder / "swav/run.toml", "--checkpoint", checkpoints, "--samples", "2000",
                   "--epochs", "10", "--json", folder / "probe.json"},
                  folder.path());
    ASSERT_EQ(probe.wait(std::chrono::seconds(200)), 0) << probe.output() << probe.errors();
    std::ifstream probe_file(folder / "probe.json");
    const auto probed = nlohmann::json::parse(probe_file);
    EXPECT_EQ(probed["step"], 60);
    EXPECT_EQ(probed["trained"]["training_images"], 2000);
    EXPECT_GT(probed["trained"]["test_accuracy"].get<double>(), 0.5);
    EXPECT_GT(probed["random"]["test_accuracy"].get<double>(), 0.4);

    Program lost(program_folder() / "shoal",
                 {"probe", folder / "swav/run.toml", "--checkpoint", folder / "none"}, folder.path());
    EXPECT_NE(lost.wait(std::chrono::seconds(100)), 0);
    EXPECT_NE(lost.errors().find("there is no checkpoint"), std::string::npos) << lost.errors();
}

}  // namespace
}  // namespace shoal::lab
