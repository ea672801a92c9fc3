// `shoal lab churn` with few real peers: it strikes, and what is left trains on with the same parameters.
#include "lab/namespaces.h"
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

TEST(Churn, strikes_as_often_as_it_says_and_all_hold_the_same_parameters) {
    if (!may_make_namespaces()) return;
    const TemporaryFolder folder;
    Program lab(program_folder() / "shoal",
                {"lab", "churn", "--quick", "--json", folder / "result.json", "--plot", folder / "result.png",
                 "--folder", folder / "peers"},
                folder.path());
    ASSERT_EQ(lab.wait(std::chrono::seconds(400)), 0) << lab.output() << lab.errors();
    std::ifstream file(folder / "result.json");
    const nlohmann::json result = nlohmann::json::parse(file);
    EXPECT_EQ(result.at("faults"), 3);
    EXPECT_GT(result.at("steps_with_faults").get<int>(), 0);
    EXPECT_LT(result.at("loss_last").get<double>(), result.at("loss_first").get<double>());
    expect_met(result, {"parameters"}, 2);
    EXPECT_GT(std::filesystem::file_size(folder / "result.png"), 1000U);
}

}  // namespace
}  // namespace shoal::lab
