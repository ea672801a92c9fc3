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

void prepare_text(const std::filesystem::path& file) {
    const std::string prepare = SHOAL_TOOLS "/prepare_text " + file.string();
    ASSERT_EQ(std::system(prepare.c_str()), 0);
}

TEST(Swarm, trains_on_through_a_death_and_takes_a_newcomer_in) {
    const TemporaryFolder folder;
    prepare_text(folder / "text.txt");
    Program swarm(program_folder() / "shoal",
                  {"lab", "swarm", "--text", folder / "text.txt", "--folder", folder / "swarm", "--quick",
                   "--check", "--plain"},
                  folder.path());
    ASSERT_EQ(swarm.wait(std::chrono::seconds(300)), 0) << swarm.output() << swarm.errors();
    std::ifstream file(folder / "swarm/summary.json");
    const auto summary = nlohmann::json::parse(file);
    EXPECT_EQ(summary["size"], "quick");
    EXPECT_EQ(summary["complete"], true);
    EXPECT_EQ(summary["steps"], 40);
    EXPECT_EQ(summary["target_batch_size"], 64);
    ASSERT_EQ(summary["loss"].size(), 40U);
    double samples = 0;
    for (const auto& step : summary["loss"]) {
        EXPECT_GE(step["samples"], 64) << "no step before its batch is full";
        samples += step["samples"].get<double>();
    }
    EXPECT_NEAR(summary["samples_per_step"]["mean"].get<double>(), samples / 40, 1e-6);
    ASSERT_FALSE(summary["events"].empty());
    for (const auto& event : summary["events"]) {
        EXPECT_GE(event["time"].get<double>(), 0);
        EXPECT_FALSE(event["text"].get<std::string>().empty());
    }
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

TEST(Swarm, tells_of_what_was_when_it_is_ended_early) {
    const TemporaryFolder folder;
    prepare_text(folder / "text.txt");
    Program swarm(program_folder() / "shoal",
                  {"lab", "swarm", "--text", folder / "text.txt", "--folder", folder / "swarm", "--quick",
                   "--steps", "100000", "--plain"},
                  folder.path());
    swarm.line_with("step 10/100000");
    swarm.signal(SIGINT);
    EXPECT_EQ(swarm.wait(), 1);
    EXPECT_NE(swarm.output().find("summary of a swarm that was ended early"), std::string::npos)
        << swarm.output() << swarm.errors();
    const auto summary = nlohmann::json::parse(read_whole(folder / "swarm/summary.json"));
    EXPECT_EQ(summary["complete"], false);
    EXPECT_GE(summary["steps"], 10);
    EXPECT_EQ(summary["loss"].size(), summary["steps"]);
    EXPECT_FALSE(summary.contains("join_seconds")) << "nobody has joined yet";
    for (const auto& peer : std::filesystem::directory_iterator(folder / "swarm/peers")) {
        if (!peer.is_directory()) continue;
        const std::string metrics = read_whole(peer.path() / "metrics.jsonl");
        EXPECT_NE(metrics.find("\"event\":\"stopped\""), std::string::npos) << peer.path();
    }
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
