// The main job as ./run shows it, only shorter: five processes, one killed, one that joins.
#include "run/program.h"
#include "run/temporary_folder.h"

#include <cstdlib>
#include <fstream>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "shoal/lab/peers_folder.h"

namespace shoal::lab {
namespace {

using run::Program;
using run::program_folder;
using run::read_whole;
using run::TemporaryFolder;

TEST(Swarm, trains_on_through_a_death_and_takes_a_newcomer_in) {
    const TemporaryFolder folder;
    const std::string prepare = SHOAL_TOOLS "/prepare_text " + (folder / "text.txt").string();
    ASSERT_EQ(std::system(prepare.c_str()), 0);
    Program swarm(program_folder() / "shoal",
                  {"lab", "swarm", "--text", folder / "text.txt", "--folder", folder / "swarm", "--steps",
                   "30", "--target-batch-size", "64", "--plain"},
                  folder.path());
    ASSERT_EQ(swarm.wait(std::chrono::seconds(300)), 0) << swarm.output() << swarm.errors();
    std::ifstream file(folder / "swarm/summary.json");
    const auto summary = nlohmann::json::parse(file);
    EXPECT_EQ(summary["steps"], 30);
    EXPECT_EQ(summary["loss"].size(), 30U);
    EXPECT_FALSE(summary["digest"].get<std::string>().empty());
    std::map<std::string, nlohmann::json> peers;
    for (const auto& peer : summary["peers"]) peers[peer["name"]] = peer;
    ASSERT_EQ(peers.size(), 6U);
    EXPECT_TRUE(peers["full-2"]["killed"]);
    EXPECT_EQ(peers["auxiliary-1"]["samples"], 0);
    EXPECT_GT(peers["auxiliary-1"]["bytes_sent"], 0) << "it helps averaging";
    for (const char* name : {"full-1", "full-2", "full-3", "client-1", "full-4"})
        EXPECT_GT(peers[name]["samples"], 0) << name;
    EXPECT_EQ(read_whole(folder / "swarm/loss.png").substr(1, 3), "PNG");
    for (const char* said : {"full-2 is killed", "full-4 contributes", "summary", "equal, digest"})
        EXPECT_NE(swarm.output().find(said), std::string::npos) << said;
}

TEST(LabFolder, what_another_has_made_is_never_deleted) {
    const TemporaryFolder folder;
    std::filesystem::create_directory(folder / "peers");
    run::write_whole(folder / "peers/precious", "mine");
    run::write_whole(folder / "text.txt", "One paragraph of text.\n");
    for (const std::vector<std::string>& arguments :
         {std::vector<std::string>{"lab", "faults", "--folder", folder.path()},
          std::vector<std::string>{"lab", "swarm", "--text", folder / "text.txt", "--folder",
                                   folder.path()}}) {
        Program lab(program_folder() / "shoal", arguments, folder.path());
        EXPECT_EQ(lab.wait(), 2);
        EXPECT_NE(lab.errors().find("was not made by shoal lab, so nothing in it is deleted"),
                  std::string::npos)
            << lab.errors();
        EXPECT_EQ(read_whole(folder / "peers/precious"), "mine");
    }
}

TEST(LabFolder, its_own_is_emptied_for_the_next_experiment) {
    const TemporaryFolder folder;
    make_peers_folder(folder.path());
    run::write_whole(folder / "peers/old", "");
    make_peers_folder(folder.path());
    EXPECT_FALSE(std::filesystem::exists(folder / "peers/old"));
    make_peers_folder(folder.path());
}

TEST(LabHelp, every_sub_command_is_listed_with_a_whole_sentence) {
    const TemporaryFolder folder;
    for (const auto& [command, sentence] :
         {std::pair("lab",
                    "\n  swarm                           Five peers train one ALBERT; one is killed and a "
                    "fresh one "
                    "joins\n"),
          std::pair(
              "bench",
              "\n  dht                             Publish, read and push in the directory, also with nodes "
              "killed\n")}) {
        Program help(program_folder() / "shoal", {command, "--help"}, folder.path());
        EXPECT_EQ(help.wait(), 0);
        EXPECT_NE(help.output().find(sentence), std::string::npos) << help.output();
    }
}

}  // namespace
}  // namespace shoal::lab
