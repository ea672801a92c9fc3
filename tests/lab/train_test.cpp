// Real `shoal train` processes: a run that stops and goes on, models of one's own, and what is wrong said
// plainly.
#include "lab/train_peers.h"

namespace shoal::lab {
namespace {

TEST_F(Train, a_run_that_all_peers_left_goes_on_at_the_same_step_with_the_same_loss) {
    std::map<std::int64_t, double> held_out;
    std::map<std::int64_t, std::string> digests;
    std::int64_t last = 0;
    {
        auto peers = start_three({"--set", "run.evaluate_every=1"});  // so that each step can be compared
        for (auto& peer : peers) wait_for_step(*peer, 20);
        for (auto& peer : peers) peer->signal(SIGTERM);
        for (auto& peer : peers) EXPECT_EQ(peer->wait(), 0) << peer->errors();
    }
    for (const char* name : {"a", "b", "c"}) {
        for (const auto& step : events(name, "step")) {
            last = std::max<std::int64_t>(last, step["step"]);
            digests[step["step"]] = step["digest"];
        }
        for (const auto& loss : events(name, "held_out")) held_out[loss["step"]] = loss["loss"];
        std::filesystem::rename(folder_ / (std::string(name) + "/metrics.jsonl"),
                                folder_ / (std::string(name) + "/before.jsonl"));
    }

    auto peers = start_three({"--set", "run.evaluate_every=1"});
    for (auto& peer : peers) peer->line_with("by 3 peers");
    for (auto& peer : peers) peer->signal(SIGTERM);
    for (auto& peer : peers) EXPECT_EQ(peer->wait(), 0) << peer->errors();
    std::int64_t resumed_at = 0;
    int compared = 0;
    for (const char* name : {"a", "b", "c"}) {
        const auto resumed = events(name, "resumed");
        ASSERT_EQ(resumed.size(), 1U) << name;
        const std::int64_t step = resumed[0]["step"].get<std::int64_t>();
        resumed_at = std::max(resumed_at, step);
        // The signal may have come between an update and its line: then the checkpoint is one step further.
        const auto known = digests.try_emplace(step, resumed[0]["digest"]).first;
        EXPECT_EQ(resumed[0]["digest"], known->second) << "the state of that step, bit by bit";
        const auto losses = events(name, "held_out");
        ASSERT_FALSE(losses.empty());
        EXPECT_EQ(losses[0]["step"], step);
        // Whoever went on beyond a step has evaluated it. The last one may be known from nobody's metrics (a
        // signal came before it was evaluated), but then from another peer that resumes there.
        const auto [known_loss, is_new] = held_out.try_emplace(step, losses[0]["loss"]);
        EXPECT_EQ(losses[0]["loss"], known_loss->second);
        compared += is_new ? 0 : 1;
        EXPECT_LT(losses[0]["loss"], 2.25) << "better than the model was at the start";
        EXPECT_GT(events(name, "step").at(0)["step"], step);
    }
    EXPECT_GE(compared, 1);
    EXPECT_GE(resumed_at, last) << "no step is lost";
    EXPECT_LE(resumed_at, last + 1);
}

TEST_F(Train, a_torchscript_model_trains_among_peers_like_a_built_in_one) {
    const std::string make = "/usr/bin/python3 " SHOAL_EXAMPLES "/own_model/make_model.py images " +
                             (folder_ / "mine.pt").string() + " > " + (folder_ / "made").string();
    ASSERT_EQ(std::system(make.c_str()), 0);
    const std::string built_in = "kind = \"convnet\"";
    std::string run_file = kRunFile;
    run_file.replace(run_file.find(built_in), built_in.size(), R"(kind = "torchscript"
file = "mine.pt")");
    write_whole(folder_ / "run.toml", run_file);
    auto peers = start_three();
    // Together first, whoever is loaded last; only then so many steps that the model must have learnt.
    for (auto& peer : peers) peer->line_with("by 3 peers");
    for (auto& peer : peers) wait_for_step(*peer, 40);
    for (auto& peer : peers) peer->signal(SIGTERM);
    for (auto& peer : peers) EXPECT_EQ(peer->wait(), 0) << peer->errors();
    std::map<std::int64_t, std::set<std::string>> digests;
    std::map<std::int64_t, int> holders;
    for (const char* name : {"a", "b", "c"}) {
        for (const auto& step : events(name, "step")) {
            digests[step["step"]].insert(step["digest"]);
            ++holders[step["step"]];
        }
    }
    for (const auto& [step, different] : digests) EXPECT_EQ(different.size(), 1U) << "at step " << step;
    EXPECT_GE(std::count_if(holders.begin(), holders.end(), [](const auto& at) { return at.second > 1; }), 1);
    // Of single batches the losses scatter.
    const auto steps = events("a", "step");
    ASSERT_GE(steps.size(), 10U);
    double first = 0, last = 0;
    for (std::size_t i = 0; i < 5; ++i) {
        first += steps[i]["swarm_loss"].get<double>();
        last += steps[steps.size() - 1 - i]["swarm_loss"].get<double>();
    }
    EXPECT_LT(last, first);
}

TEST_F(Train, what_is_wrong_is_one_clear_message_and_a_non_zero_exit) {
    write_whole(folder_ / "broken.pt", "this is no archive");
    write_whole(folder_ / "empty.txt", "");
    const struct {
        std::vector<std::string> flags;
        std::string message;
    } cases[] = {
        {{"--set", "data.path=nowhere"}, "nowhere"},
        {{"--set", "model.kind=torchscript", "--set", "model.file=broken.pt"}, "broken.pt"},
        {{"--set", "model.kind=torchscript", "--set", "model.file=missing.pt"}, "missing.pt"},
        {{"--set", "model.kind=albert", "--set", "data.kind=text", "--set", "data.path=empty.txt"}, "data"},
        {{"--set", "optimizer.name=lamp"}, "lamp"},
        {{"--set", "schedule.learning_rate=-1"}, "learning_rate"},
    };
    for (const auto& [flags, message] : cases) {
        auto peer = start("wrong", flags);
        EXPECT_NE(peer->wait(), 0) << message;
        const std::string said = peer->errors();
        EXPECT_EQ(said.rfind("shoal: error: ", 0), 0U) << said;
        EXPECT_NE(said.find(message), std::string::npos) << said;
        EXPECT_EQ(std::count(said.begin(), said.end(), '\n'), 1) << said;
    }
}

/// A TorchScript model of images, with the body of its forward.
void make_script(const std::filesystem::path& file, const std::string& forward) {
    write_whole(file.string() + ".py", R"(
import sys, torch
from torch import Tensor
class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.head = torch.nn.Linear(7, 3)
    def forward(self, images: Tensor, classes: Tensor) -> Tensor:
        )" + forward + R"(
torch.jit.script(Model()).save(sys.argv[1])
)");
    const std::string make = "/usr/bin/python3 " + file.string() + ".py " + file.string();
    ASSERT_EQ(std::system(make.c_str()), 0);
}

TEST_F(Train, a_model_that_gives_no_finite_loss_is_reported_once_and_ends_with_an_error) {
    make_script(folder_ / "nan.pt", "return self.head.weight.sum() * float('nan')");
    auto peer = start("a", {"--set", "model.kind=torchscript", "--set", "model.file=nan.pt"});
    EXPECT_EQ(peer->wait(std::chrono::seconds(100)), 2);
    EXPECT_NE(peer->errors().find("shoal: error: 100 micro-batches in a row had a loss or a gradient"),
              std::string::npos)
        << peer->errors();
    const std::string said = peer->output(), told = "not finite";
    const std::size_t first = said.find(told);
    ASSERT_NE(first, std::string::npos) << said;
    EXPECT_EQ(said.find(told, first + 1), std::string::npos) << said;
    EXPECT_EQ(events("a", "trouble").size(), 1U);
    std::int64_t dropped = 0;
    for (const auto& line : events("a", "micro_batch")) dropped += line["dropped"].get<std::int64_t>();
    EXPECT_EQ(dropped, 99) << "the hundredth ends it";
}

TEST_F(Train, a_model_that_does_not_fit_its_data_says_so_in_one_line) {
    make_script(folder_ / "shapes.pt", "return self.head(images).mean()");
    auto peer = start("a", {"--set", "model.kind=torchscript", "--set", "model.file=shapes.pt"});
    EXPECT_EQ(peer->wait(), 2);
    const std::string said = peer->errors();
    EXPECT_NE(
        said.find("shapes.pt fails in forward: RuntimeError: mat1 and mat2 shapes cannot be multiplied"),
        std::string::npos)
        << said;
    EXPECT_EQ(std::count(said.begin(), said.end(), '\n'), 1) << said;
}

TEST_F(Train, the_console_counts_the_peers_that_contributed_samples) {
    auto peer = start("a", {"--set", "run.steps=3"});
    const std::string port = port_of(*peer);
    Program helper(program_folder() / "shoal",
                   {"seed", "run.toml", "--auxiliary", "--set", "run.steps=3", "--folder", "helper",
                    "--bootstrap", "127.0.0.1:" + port},
                   folder_.path());
    EXPECT_NE(peer->line_with("step 3/").find(" samples by 1 peer in "), std::string::npos);
    EXPECT_EQ(peer->wait(), 0) << peer->errors();
}

TEST_F(Train, an_address_that_nobody_answers_at_is_named_while_it_goes_on_trying) {
    auto peer = start("a", {"--bootstrap", "127.0.0.1:1"});
    peer->error_with("127.0.0.1:1: connection refused");
    peer->signal(SIGINT);
    EXPECT_EQ(peer->wait(), 0);
}

TEST_F(Train, a_peer_whose_settings_differ_ends_and_names_the_setting_though_it_met_only_a_plain_seed) {
    Program seed(program_folder() / "shoal", {"seed", "--folder", "seed", "--listen", "127.0.0.1"},
                 folder_.path());
    const std::vector<std::string> there = {"--bootstrap", "127.0.0.1:" + seed_port(seed)};
    auto a = start("a", there);
    auto b = start("b", there);
    a->line_with("by 2 peers");
    std::vector<std::string> other = there;
    other.insert(other.end(), {"--set", "schedule.learning_rate=0.002"});
    auto differing = start("c", other);
    EXPECT_EQ(differing->wait(), 2);
    const std::string said = differing->errors();
    EXPECT_NE(said.find("shoal: error: the run's schedule.learning_rate differs: ours 0.002, theirs 0.001"),
              std::string::npos)
        << said;
    EXPECT_TRUE(events("c", "step").empty()) << "it never began a run of its own";
    EXPECT_TRUE(events("c", "micro_batch").empty());
    EXPECT_TRUE(checkpoint_files("c").empty());
    for (auto* peer : {a.get(), b.get()}) {
        peer->signal(SIGTERM);
        EXPECT_EQ(peer->wait(), 0) << "the others are not disturbed: " << peer->errors();
    }
}

TEST_F(Train, an_address_that_refuses_for_a_setting_ends_it_at_once) {
    auto a = start("a", {});
    const std::string there = "127.0.0.1:" + port_of(*a);
    const struct {
        const char *setting, *message;
    } cases[] = {
        {"averaging.codec=fp32", "the run's averaging.codec differs: ours \"fp32\", theirs \"fp16\""},
        {"run.name=other", "the run's run.name differs: ours \"other\", theirs \"train-test\""},
    };
    for (const auto& [setting, message] : cases) {
        auto differing = start("b", {"--set", setting, "--bootstrap", there, "--bootstrap", "127.0.0.1:1"});
        EXPECT_EQ(differing->wait(), 2);
        const std::string said = differing->errors();
        EXPECT_NE(said.find("shoal: error: " + there + ": " + message), std::string::npos) << said;
    }
}

TEST_F(Train, a_seed_with_the_run_file_compares_settings_and_answers_status) {
    Program seed(program_folder() / "shoal",
                 {"seed", "run.toml", "--folder", "seed", "--listen", "127.0.0.1"}, folder_.path());
    const std::string there = "127.0.0.1:" + seed_port(seed);
    auto a = start("a", {"--bootstrap", there});
    a->line_with("step 2/");
    auto differing = start("b", {"--set", "optimizer.name=sgd", "--bootstrap", there});
    EXPECT_EQ(differing->wait(), 2);
    EXPECT_NE(differing->errors().find("optimizer.name differs: ours \"sgd\", theirs \"adamw\""),
              std::string::npos)
        << differing->errors();
    Program status(program_folder() / "shoal", {"status", "--bootstrap", there}, folder_.path());
    EXPECT_EQ(status.wait(), 0) << status.errors();
    EXPECT_NE(status.output().find("run train-test: step "), std::string::npos) << status.output();
    Program other(program_folder() / "shoal",
                  {"seed", "run.toml", "--folder", "other", "--listen", "127.0.0.1", "--set", "run.steps=7",
                   "--bootstrap", there},
                  folder_.path());
    EXPECT_EQ(other.wait(), 2);
    EXPECT_NE(other.errors().find("run.steps differs: ours 7, theirs 100000"), std::string::npos)
        << other.errors();
}

TEST_F(Train, the_end_of_a_run_is_said_and_said_again_by_a_peer_that_is_started_once_more) {
    auto peer = start("a", {"--set", "run.steps=3"});
    ASSERT_EQ(peer->wait(), 0) << peer->errors();
    const std::string words = peer->line_with("the run is complete: step 3, held-out loss ");
    EXPECT_NE(words.find(", checkpoint a/checkpoints/step-000003.safetensors, digest "), std::string::npos)
        << words;
    // Nobody answers at its bootstrap address, and it does not wait for that.
    auto again = start("a", {"--set", "run.steps=3", "--bootstrap", "127.0.0.1:1"});
    ASSERT_EQ(again->wait(), 0) << again->errors();
    const std::string digest = words.substr(words.find("digest "));
    EXPECT_EQ(again->output(),
              "the run is complete: step 3, checkpoint "
              "a/checkpoints/step-000003.safetensors, " +
                  digest + "\n");
    EXPECT_EQ(again->errors(), "");
}

TEST_F(Train, a_peer_says_that_it_waits_before_anybody_is_met_and_whom_it_met) {
    auto waiting = start("w", {"--bootstrap", "localhost:1"});
    waiting->line_with("waiting for a bootstrap address: localhost:1");
    const std::string said = waiting->error_with("connection refused");
    EXPECT_EQ(said.find("localhost:1"), said.rfind("localhost:1")) << "once: " << said;
    EXPECT_EQ(waiting->output().find("met peer"), std::string::npos);
    auto a = start("a", {});
    const std::string there = "127.0.0.1:" + port_of(*a);
    auto b = start("b", {"--client", "--bootstrap", there});
    b->line_with("no port of its own");
    b->line_with(" at " + there);
}

TEST_F(Train, a_frozen_peer_shows_as_silent_from_outside) {
    auto a = start("a", {});
    const std::string there = "127.0.0.1:" + port_of(*a);
    auto b = start("b", {"--bootstrap", there});
    b->line_with("by 2 peers");
    b->signal(SIGSTOP);
    Program status(program_folder() / "shoal", {"status", "--watch", "--bootstrap", there}, folder_.path());
    const std::string line = status.line_with("silent for ");
    EXPECT_EQ(line.substr(0, 2), "b ") << line;
    EXPECT_EQ(status.output().find('\x1b'), std::string::npos) << "no terminal, no escape codes";
    b->signal(SIGKILL);
}

TEST_F(Train, a_peer_that_is_frozen_for_ever_holds_up_nobody) {
    auto peers = start_three();
    for (auto& peer : peers) peer->line_with("by 3 peers");
    peers[1]->signal(SIGSTOP);  // it is never continued
    const std::int64_t then = last_step(peers[0]->output());
    for (const std::size_t other : {0U, 2U}) wait_for_step(*peers[other], then + 25);
    for (const std::size_t other : {0U, 2U}) {
        peers[other]->signal(SIGTERM);
        EXPECT_EQ(peers[other]->wait(), 0) << peers[other]->errors();
    }
    std::map<std::int64_t, std::string> digests;
    for (const auto& step : events("a", "step")) digests[step["step"]] = step["digest"];
    int compared = 0;
    for (const auto& step : events("c", "step")) {
        const auto same = digests.find(step["step"]);
        if (same == digests.end()) continue;
        ++compared;
        EXPECT_EQ(step["digest"], same->second) << "at step " << step["step"];
    }
    EXPECT_GE(compared, 20);
    peers[1]->signal(SIGKILL);
}

TEST_F(Train, the_doctor_finds_what_train_would_refuse_of_a_model) {
    make_script(folder_ / "shapes.pt", "return self.head(images).mean()");
    make_script(folder_ / "good.pt", "return self.head.weight.sum() * images.mean()");
    const auto examine = [this](const std::string& model) {
        Program doctor(program_folder() / "shoal",
                       {"doctor", "run.toml", "--listen", "127.0.0.1", "--set", "model.kind=torchscript",
                        "--set", "model.file=" + model},
                       folder_.path());
        doctor.wait();
        return doctor.output();
    };
    const std::string bad = examine("shapes.pt"), good = examine("good.pt");
    EXPECT_NE(bad.find("wrong  model"), std::string::npos) << bad;
    EXPECT_NE(bad.find("shapes.pt fails in forward: RuntimeError: mat1 and mat2 shapes"), std::string::npos)
        << bad;
    EXPECT_EQ(good.find("wrong  model"), std::string::npos) << good;
    EXPECT_NE(good.find("computes a micro-batch, as it would in training"), std::string::npos) << good;
}

// The reader below is made from the description of the format alone, and uses PyTorch for the tensors.
TEST_F(Train, python_opens_a_checkpoint_as_the_models_tensors) {
    auto peer = start("a", {"--set", "run.steps=3"});
    ASSERT_EQ(peer->wait(), 0) << peer->errors();
    std::filesystem::path checkpoint;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(folder_ / "a/checkpoints"))
        if (entry.path().extension() == ".safetensors") checkpoint = entry.path();
    write_whole(folder_ / "open.py", R"(
import json, math, struct, sys, torch
data = open(sys.argv[1], "rb").read()
length, = struct.unpack("<Q", data[:8])
header = json.loads(data[8:8 + length])
header.pop("__metadata__", None)
body, end, parameters = data[8 + length:], 0, 0
for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
    first, last = entry["data_offsets"]
    assert first == end, "tensors follow each other without gaps"
    end = last
    assert entry["dtype"] in ("F32", "I64", "U8", "F64", "U64", "I32"), entry
    if entry["dtype"] == "F32":
        tensor = torch.frombuffer(bytearray(body[first:last]), dtype=torch.float32).reshape(entry["shape"])
        assert torch.isfinite(tensor).all(), name
        parameters += tensor.numel()
assert end == len(body)
print("numbers", parameters)
)");
    const std::string open = "/usr/bin/python3 " + (folder_ / "open.py").string() + " " +
                             checkpoint.string() + " > " + (folder_ / "opened").string() + " 2>&1";
    EXPECT_EQ(std::system(open.c_str()), 0) << read_whole(folder_ / "opened");
    EXPECT_NE(read_whole(folder_ / "opened").find("numbers"), std::string::npos);
}

}  // namespace
}  // namespace shoal::lab
