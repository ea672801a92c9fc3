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
}

}  // namespace
}  // namespace shoal::lab
