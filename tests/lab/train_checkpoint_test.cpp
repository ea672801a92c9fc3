// Checkpoints of real `shoal train` processes: written at the end, checked at the start, never overwritten.
#include "lab/train_peers.h"

namespace shoal::lab {
namespace {

TEST_F(Train, ctrl_c_says_goodbye_and_writes_a_checkpoint) {
    auto peer = start("a", {});
    peer->line_with("step 2/");
    peer->signal(SIGINT);
    EXPECT_EQ(peer->wait(), 0);
    const std::string words = peer->line_with("wrote checkpoint of step ");
    EXPECT_NE(words.find("a/checkpoints/step-0000"), std::string::npos) << words;
    EXPECT_NE(words.find(".safetensors, said goodbye"), std::string::npos) << words;
    EXPECT_EQ(events("a", "stopped").size(), 1U);
    EXPECT_FALSE(std::filesystem::is_empty(folder_ / "a/checkpoints"));
}

TEST_F(Train, a_checkpoint_folder_that_cannot_be_written_ends_it_before_anything_is_trained) {
    auto peer = start("a", {"--set", "checkpoints.folder=run.toml/checkpoints"});
    EXPECT_EQ(peer->wait(), 2);
    EXPECT_NE(peer->errors().find("no checkpoint can be written in run.toml/checkpoints"), std::string::npos)
        << peer->errors();
    EXPECT_EQ(peer->output().find("step "), std::string::npos) << peer->output();
}

TEST_F(Train, a_last_checkpoint_that_cannot_be_written_is_an_error) {
    auto peer = start("a", {});
    peer->line_with("step 2/");
    std::filesystem::remove_all(folder_ / "a/checkpoints");
    write_whole(folder_ / "a/checkpoints", "a file stands in the way");
    peer->signal(SIGTERM);
    EXPECT_EQ(peer->wait(), 1);
    EXPECT_NE(peer->errors().find("shoal: error: the last checkpoint, of step "), std::string::npos)
        << peer->errors();
}

TEST_F(Train, a_checkpoint_notes_the_step_and_digest_that_the_metrics_have) {
    auto peer = start("a", {"--set", "checkpoints.every=2"});
    peer->line_with("step 5/");
    peer->signal(SIGTERM);
    ASSERT_EQ(peer->wait(), 0) << peer->errors();
    std::map<std::int64_t, std::string> digests;
    for (const auto& step : events("a", "step")) digests[step["step"]] = step["digest"];
    int compared = 0;
    for (const auto& entry : std::filesystem::directory_iterator(folder_ / "a/checkpoints")) {
        if (entry.path().extension() != ".json") continue;
        const auto info = nlohmann::json::parse(read_whole(entry.path()));
        if (!digests.count(info["step"])) continue;  // an update that ended after the signal
        EXPECT_EQ(info["digest"], digests[info["step"]]);
        ++compared;
    }
    EXPECT_GE(compared, 2);
}

TEST_F(Train, a_damaged_checkpoint_is_named_and_nothing_is_started_over_it) {
    {
        auto peer = start("a", {});
        peer->line_with("step 2/");
        peer->signal(SIGINT);
        ASSERT_EQ(peer->wait(), 0);
    }
    std::map<std::filesystem::path, std::string> damaged;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(folder_ / "a/checkpoints")) {
        if (entry.path().extension() != ".safetensors") continue;
        std::string bytes = read_whole(entry.path());
        bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] + 1);
        write_whole(entry.path(), bytes);
        damaged[entry.path()] = bytes;
    }
    ASSERT_FALSE(damaged.empty());
    auto peer = start("a", {});
    EXPECT_NE(peer->wait(), 0);
    EXPECT_NE(peer->errors().find("shoal: error: every checkpoint in "), std::string::npos) << peer->errors();
    for (const auto& [file, bytes] : damaged) EXPECT_EQ(read_whole(file), bytes) << "left as it is";
}

TEST_F(Train, a_damaged_newest_checkpoint_ends_it_and_who_asks_for_it_goes_on_from_the_one_before) {
    {
        auto peer = start("a", {"--set", "checkpoints.every=2"});
        peer->line_with("step 5/");
        peer->signal(SIGINT);
        ASSERT_EQ(peer->wait(), 0);
    }
    std::vector<std::filesystem::path> tensors;
    for (const auto& file : checkpoint_files("a"))
        if (file.extension() == ".safetensors") tensors.push_back(file);
    std::sort(tensors.begin(), tensors.end());
    ASSERT_GE(tensors.size(), 2U);
    const std::filesystem::path newest = tensors.back(), before = tensors[tensors.size() - 2];
    std::string bytes = read_whole(newest);
    bytes.resize(bytes.size() - 1);
    write_whole(newest, bytes);
    const auto files = checkpoint_files("a").size();
    {
        auto peer = start("a", {});
        EXPECT_NE(peer->wait(), 0);
        const std::string said = peer->errors();
        EXPECT_EQ(std::count(said.begin(), said.end(), '\n'), 1) << said;
        for (const std::string& part :
             {newest.filename().string() + " is damaged", before.filename().string(),
              std::string("--set checkpoints.fall_back=true")})
            EXPECT_NE(said.find(part), std::string::npos) << said;
        EXPECT_EQ(read_whole(newest), bytes) << "left as it is";
        EXPECT_EQ(checkpoint_files("a").size(), files);
    }
    auto peer = start("a", {"--set", "checkpoints.fall_back=true"});
    const std::string step = before.stem().string().substr(5);
    peer->line_with("goes on from the checkpoint of step " + std::to_string(std::atoll(step.c_str())));
    peer->signal(SIGINT);
    EXPECT_EQ(peer->wait(), 0) << peer->errors();
    EXPECT_EQ(read_whole(newest.string() + ".old-1"), bytes) << "moved aside";
}

}  // namespace
}  // namespace shoal::lab
