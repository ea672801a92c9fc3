// What the tests of `shoal train` share: a run file, real peers, and what they wrote.
#pragma once

#include "run/program.h"
#include "run/temporary_folder.h"

#include <algorithm>
#include <cstdlib>
#include <gtest/gtest.h>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

namespace shoal::lab {

using run::Program;
using run::program_folder;
using run::read_whole;
using run::TemporaryFolder;
using run::write_whole;

inline const std::string kRunFile = R"([run]
name = "train-test"
target_batch_size = 48
steps = 100000
evaluate_every = 20

[model]
kind = "convnet"

[data]
kind = "fashion-mnist"
micro_batch_size = 8
held_out = 0.01

[optimizer]
name = "adamw"

[schedule]
kind = "constant"
learning_rate = 1e-3

[network]
listen_host = "127.0.0.1"

[peer]
threads = 1
)";

class Train : public testing::Test {
  protected:
    Train() { write_whole(folder_ / "run.toml", kRunFile); }

    std::unique_ptr<Program> start(const std::string& name, std::vector<std::string> more) {
        std::vector<std::string> arguments = {"train", "run.toml", "--name", name, "--folder", name};
        arguments.insert(arguments.end(), more.begin(), more.end());
        return std::make_unique<Program>(program_folder() / "shoal", arguments, folder_.path());
    }
    /// Three peers; all know the first.
    std::vector<std::unique_ptr<Program>> start_three(const std::vector<std::string>& more = {}) {
        std::vector<std::unique_ptr<Program>> peers;
        peers.push_back(start("a", more));
        const std::string port = port_of(*peers[0]);
        for (const char* name : {"b", "c"}) {
            std::vector<std::string> arguments = more;
            arguments.insert(arguments.end(), {"--bootstrap", "127.0.0.1:" + port});
            peers.push_back(start(name, arguments));
        }
        return peers;
    }
    static std::string port_of(Program& peer) {
        const std::string line = peer.line_with(", port ");
        return line.substr(line.rfind(' ') + 1);
    }
    /// Of what a peer has printed; -1 before the first.
    static std::int64_t last_step(const std::string& text) {
        const std::string word = "\nstep ";
        const std::size_t place = text.rfind(word);
        return place == std::string::npos ? -1 : std::atoll(text.c_str() + place + word.size());
    }
    /// Until its newest line is of this step or a later one: a peer may download a state and leave steps out.
    static void wait_for_step(Program& peer, std::int64_t step) {
        const auto has_come = [step](const std::string& text) { return last_step(text) >= step; };
        peer.wait_for(has_come, "came to step " + std::to_string(step));
    }
    static std::string seed_port(Program& seed) {
        const std::string line = seed.line_with("listens on port "), mark = "on port ";
        const std::size_t begin = line.find(mark) + mark.size();
        return line.substr(begin, line.find(',', begin) - begin);
    }
    std::vector<std::filesystem::path> checkpoint_files(const std::string& peer) const {
        std::vector<std::filesystem::path> found;
        for (const auto& entry : std::filesystem::directory_iterator(folder_ / (peer + "/checkpoints")))
            found.push_back(entry.path());
        return found;
    }
    /// The events of one kind in a peer's metrics, in order.
    std::vector<nlohmann::json> events(const std::string& peer, const std::string& kind) const {
        std::vector<nlohmann::json> found;
        std::istringstream lines(read_whole(folder_ / (peer + "/metrics.jsonl")));
        for (std::string line; std::getline(lines, line);) {
            auto event = nlohmann::json::parse(line);
            if (event["event"] == kind) found.push_back(std::move(event));
        }
        return found;
    }

    TemporaryFolder folder_;
};

}  // namespace shoal::lab
