// The real program: help, errors and exit codes of every sub-command, and the hand-over to shoal-torch.
#include "run/program.h"
#include "run/temporary_folder.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include "shoal/run/definition.h"

namespace shoal::run {
namespace {

bool contains(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
}

/// "... port 12345, TCP and UDP" -> "12345"
std::string port_in(const std::string& line) {
    const std::string mark = "on port ";
    const std::size_t begin = line.find(mark);
    if (begin == std::string::npos) return "0";
    return line.substr(begin + mark.size(), line.find(',', begin) - begin - mark.size());
}

TEST(CommandLine, HelpListsEverySubCommand) {
    const TemporaryFolder folder;
    const Ended help = shoal({"--help"}, folder.path());
    EXPECT_EQ(help.code, 0);
    for (const char* name : {"seed", "status", "report", "doctor", "init", "key", "train", "lab", "bench"})
        EXPECT_TRUE(contains(help.output, "\n  " + std::string(name) + " ")) << name;
}

TEST(CommandLine, EverySubCommandHasHelpOfItsOwnThatNamesItsOptions) {
    const TemporaryFolder folder;
    for (const char* name : {"seed", "status", "doctor"}) {
        const Ended help = shoal({name, "--help"}, folder.path());
        EXPECT_EQ(help.code, 0);
        EXPECT_TRUE(contains(help.output, "--bootstrap")) << name;
        EXPECT_TRUE(contains(help.output, "--set")) << name;
        EXPECT_TRUE(contains(help.output, "Usage: shoal " + std::string(name))) << name;
    }
    EXPECT_EQ(shoal({"init", "--help"}, folder.path()).code, 0);
    EXPECT_TRUE(contains(shoal({"key", "--help"}, folder.path()).output, "--new"));
}

TEST(CommandLine, StartsWithoutLibtorchInAFewMilliseconds) {
    const TemporaryFolder folder;
    const Ended version = shoal({"--version"}, folder.path());
    EXPECT_EQ(version.code, 0);
    EXPECT_TRUE(contains(version.output, "shoal 0."));
}

TEST(CommandLine, WrongUseIsOneLineAndExitCodeTwo) {
    const TemporaryFolder folder;
    const std::pair<std::vector<std::string>, std::string> cases[] = {
        {{"sed"}, "there is no sub-command 'sed' (did you mean 'seed'?)"},
        {{"seed", "--no-such-flag"}, "--no-such-flag"},
        {{"seed", "--port", "65536"}, "--port 65536: [network] listen_port must be at most 65535, not 65536"},
        {{"seed", "--bootstrap", "nowhere"},
         "--bootstrap nowhere: [network] bootstrap \"nowhere\" is no address"},
        {{"seed", "--set", "run.stepps=1"}, "unknown key 'stepps' in [run] (did you mean 'steps'?)"},
        {{"seed", "--set", "steps"}, "must have the form section.key=value"},
        {{"seed", "missing.toml"}, "cannot read the run file missing.toml"},
        {{"seed", "--auxiliary"}, "[run] name is missing"},
        {{"seed", "--log-level", "loud"}, "'loud' is no log level"},
        {{"status"}, "--bootstrap host:port"},
        {{"key", "no.pem"}, "there is no key file no.pem"},
    };
    for (const auto& [arguments, expected] : cases) {
        const Ended result = shoal(arguments, folder.path());
        EXPECT_EQ(result.code, 2) << expected;
        EXPECT_EQ(result.errors.substr(0, 14), "shoal: error: ") << result.errors;
        EXPECT_TRUE(contains(result.errors, expected)) << result.errors;
    }
    EXPECT_EQ(shoal({}, folder.path()).code, 2);
}

TEST(CommandLine, ABadRunFileIsReportedWithFileAndLine) {
    const TemporaryFolder folder;
    write_whole(folder / "run.toml", "[run]\nname = \"x\"\nstepps = 3\n[optimizer]\nepsilon = \"small\"\n");
    const Ended result = shoal({"seed", "run.toml", "--auxiliary"}, folder.path());
    EXPECT_EQ(result.code, 2);
    EXPECT_TRUE(contains(result.errors, "run.toml:3:1: unknown key 'stepps'")) << result.errors;
    EXPECT_TRUE(contains(result.errors, "run.toml:5:11: [optimizer] epsilon must be a number, not a text"))
        << result.errors;
}

TEST(CommandLine, InitWritesAFileThatLoadsAndNeverOverwritesOne) {
    const TemporaryFolder folder;
    EXPECT_EQ(shoal({"init", "run.toml"}, folder.path()).code, 0);
    EXPECT_EQ(read_whole(folder / "run.toml"), definition_template());
    write_whole(folder / "run.toml", "mine");
    const Ended again = shoal({"init", "run.toml"}, folder.path());
    EXPECT_EQ(again.code, 2);
    EXPECT_TRUE(contains(again.errors, "nothing was overwritten"));
    EXPECT_EQ(read_whole(folder / "run.toml"), "mine");
}

TEST(CommandLine, AKeyIsMadeOnceAndReadBack) {
    const TemporaryFolder folder;
    const Ended made = shoal({"key", "--new", "key.pem"}, folder.path());
    EXPECT_EQ(made.code, 0);
    EXPECT_EQ(made.output.size(), 65U);
    EXPECT_EQ(shoal({"key", "key.pem"}, folder.path()).output, made.output);
    EXPECT_EQ(shoal({"key", "--new", "key.pem"}, folder.path()).code, 2);
    write_whole(folder / "key.pem", "damaged");
    EXPECT_EQ(shoal({"key", "key.pem"}, folder.path()).code, 2);
}

TEST(CommandLine, ReportShowsARunAndFailsWhereNothingCanBeRead) {
    const TemporaryFolder folder;
    std::filesystem::create_directories(folder / "peers/a");
    EXPECT_TRUE(contains(shoal({"report", "--help"}, folder.path()).output, "Example"));
    const Ended nothing = shoal({"report", "peers"}, folder.path());
    EXPECT_EQ(nothing.code, 1);
    EXPECT_TRUE(contains(nothing.errors, "no record of a run can be read in peers")) << nothing.errors;
    EXPECT_EQ(shoal({"report"}, folder.path()).code, 2);
    EXPECT_EQ(shoal({"report", "peers", "--price", "x"}, folder.path()).code, 2);
    EXPECT_EQ(shoal({"report", "peers", "--traffic-price", "-1"}, folder.path()).code, 2);

    write_whole(folder / "peers/a/metrics.jsonl",
                R"({"time":0,"event":"started","run":"r","name":"alice","peer":"aaaaaaaaaa","role":"full"})"
                "\ndamaged\n{\"time\":500,\"event\":\"stopped\"}\n");
    const Ended report = shoal({"report", "--price", "alice=7.2", "--traffic-price", "0.1", "--against",
                                "peers", "--json", "out.json", "peers"},
                               folder.path());
    EXPECT_EQ(report.code, 0) << report.errors;
    EXPECT_TRUE(contains(report.errors, "shoal: warning: peers/a/metrics.jsonl:2: ")) << report.errors;
    EXPECT_TRUE(contains(report.output, "$1.00")) << report.output;
    const auto json = nlohmann::json::parse(read_whole(folder / "out.json"));
    EXPECT_NEAR(json["dollars"].get<double>(), 1.0, 1e-9);
    EXPECT_EQ(json["participants"].size(), 1U);
}

class HandOver : public testing::Test {
  protected:
    HandOver() {
        std::filesystem::create_directory(folder_ / "bin");
        std::filesystem::copy_file(program_folder() / "shoal", folder_ / "bin/shoal");
    }
    void install(const std::string& name) {
        std::filesystem::create_directories((folder_.path() / name).parent_path());
        write_whole(folder_ / name, "#!/bin/sh\necho \"process $$ got $*\"\nexit 42\n");
        std::filesystem::permissions(folder_ / name, std::filesystem::perms::owner_all);
    }
    TemporaryFolder folder_;
};

TEST_F(HandOver, KeepsProcessIdArgumentsAndExitCode) {
    install("bin/shoal-torch");
    Program program(folder_ / "bin/shoal", {"train", "run.toml", "--help"}, folder_.path());
    EXPECT_EQ(program.wait(), 42);
    EXPECT_EQ(program.output(),
              "process " + std::to_string(program.process_id()) + " got train run.toml --help\n");
}

TEST_F(HandOver, FindsTheProgramWhereAnInstallationPutsIt) {
    install("libexec/shoal/shoal-torch");
    Program program(folder_ / "bin/shoal", {"bench"}, folder_.path());
    EXPECT_EQ(program.wait(), 42);
}

TEST_F(HandOver, SaysWhatIsMissingWithoutTheProgram) {
    Program program(folder_ / "bin/shoal", {"lab", "swarm"}, folder_.path());
    EXPECT_EQ(program.wait(), 1);
    EXPECT_TRUE(contains(program.errors(), "shoal: error: this sub-command needs the program shoal-torch"));
}

TEST(Seed, IsMetExaminedAndLeavesOnASignal) {
    const TemporaryFolder folder;
    Program seed(program_folder() / "shoal",
                 {"seed", "--folder", "seed", "--listen", "127.0.0.1", "--metrics-port", "0"}, folder.path());
    const std::string port = port_in(seed.line_with("listens on port"));
    seed.line_with("/metrics");

    const Ended doctor = shoal(
        {"doctor", "--json", "--listen", "127.0.0.1", "--bootstrap", "127.0.0.1:" + port}, folder.path());
    const auto findings = nlohmann::json::parse(doctor.output);
    std::string subjects;
    for (const auto& one : findings.at("findings"))
        if (one.at("level") == "fine") subjects += one.at("subject").get<std::string>() + " ";
    for (const char* subject : {"TCP port", "UDP port", "bootstrap", "clock", "bandwidth", "reachability"})
        EXPECT_TRUE(contains(subjects, subject)) << doctor.output;

    const Ended status = shoal({"status", "--bootstrap", "127.0.0.1:" + port}, folder.path());
    EXPECT_EQ(status.code, 2);
    EXPECT_TRUE(contains(status.errors, "meeting points of any run")) << status.errors;

    seed.signal(SIGTERM);
    EXPECT_EQ(seed.wait(), 0);
    const std::string metrics = read_whole(folder / "seed/metrics.jsonl");
    EXPECT_TRUE(contains(metrics, "\"event\":\"started\""));
    EXPECT_TRUE(contains(metrics, "\"event\":\"stopped\""));
}

TEST(Seed, ATakenPortIsNamed) {
    const TemporaryFolder folder;
    Program first(program_folder() / "shoal", {"seed", "--folder", "a", "--listen", "127.0.0.1"},
                  folder.path());
    const std::string port = port_in(first.line_with("listens on port"));
    const Ended second =
        shoal({"seed", "--folder", "b", "--listen", "127.0.0.1", "--port", port}, folder.path());
    EXPECT_EQ(second.code, 1);
    EXPECT_TRUE(contains(second.errors, ":" + port)) << second.errors;
    const Ended doctor = shoal({"doctor", "--listen", "127.0.0.1", "--port", port}, folder.path());
    EXPECT_EQ(doctor.code, 1);
    EXPECT_TRUE(contains(doctor.output, "wrong  TCP port")) << doctor.output;
    const Ended folder_taken = shoal({"seed", "--folder", "a", "--listen", "127.0.0.1"}, folder.path());
    EXPECT_EQ(folder_taken.code, 2);
    EXPECT_TRUE(contains(folder_taken.errors, "in use by process " + std::to_string(first.process_id())));
}

TEST(Status, NamesEveryBootstrapAddressThatDoesNotAnswerWithItsCause) {
    const TemporaryFolder folder;
    // Port 1 of the loopback: nothing listens there. A name under .invalid never exists (RFC 2606).
    const Ended result =
        shoal({"status", "--run", "x", "--bootstrap", "127.0.0.1:1", "--bootstrap", "host.invalid:31337"},
              folder.path());
    EXPECT_EQ(result.code, 1);
    EXPECT_TRUE(contains(result.errors, "127.0.0.1:1: connection refused")) << result.errors;
    EXPECT_TRUE(contains(result.errors, "host.invalid:31337")) << result.errors;
}

constexpr const char* kDemoRun =
    "[run]\nname = \"demo\"\n[data]\nkind = \"fashion-mnist\"\n[model]\nkind = \"convnet\"\n";

/// Starts an auxiliary peer of that run. @return  it, and its port once it listens.
std::pair<std::unique_ptr<Program>, std::string> start_auxiliary(const TemporaryFolder& folder,
                                                                 const std::vector<std::string>& more) {
    write_whole(folder / "run.toml", kDemoRun);
    std::vector<std::string> arguments = {"seed", "run.toml", "--auxiliary", "--listen", "127.0.0.1"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    auto program = std::make_unique<Program>(program_folder() / "shoal", arguments, folder.path());
    std::string port = port_in(program->line_with("listens on port"));
    return {std::move(program), std::move(port)};
}

TEST(Status, ShowsAnAuxiliaryPeerOfARun) {
    const TemporaryFolder folder;
    const auto [helper, port] = start_auxiliary(folder, {"--name", "helper"});
    const Ended table = shoal({"status", "--bootstrap", "127.0.0.1:" + port}, folder.path());
    EXPECT_EQ(table.code, 0) << table.errors;
    EXPECT_TRUE(contains(table.output, "run demo: step 0")) << table.output;
    EXPECT_TRUE(contains(table.output, "helper")) << table.output;
    const Ended json = shoal({"status", "--json", "--bootstrap", "127.0.0.1:" + port}, folder.path());
    EXPECT_EQ(nlohmann::json::parse(json.output).at("peers").at(0).at("role"), "auxiliary");
    helper->signal(SIGINT);
    EXPECT_EQ(helper->wait(), 0);
}

TEST(Doctor, SaysEveryProblemOfARunFileWithItsLineAsTrainingWould) {
    const TemporaryFolder folder;
    write_whole(folder / "run.toml",
                "[run]\nname = \"x\"\nsteps = 5\n[model]\nkind = \"convnet\"\nsize = \"large\"\n"
                "[data]\nkind = \"fashion-mnist\"\n[schedule]\nwarmup_steps = 6\n");
    const Ended broken = shoal({"doctor", "run.toml", "--listen", "127.0.0.1"}, folder.path());
    EXPECT_EQ(broken.code, 1);
    EXPECT_TRUE(contains(broken.output, "run.toml:6:8: [model] size must be tiny or small for kind convnet"))
        << broken.output;
    EXPECT_TRUE(contains(broken.output, "run.toml:10:16: [schedule] warmup_steps 6 is beyond the end"));
    EXPECT_TRUE(contains(broken.output, "TCP port")) << "it examines the rest all the same";

    write_whole(folder / "run.toml",
                "[run]\nname = \"x\"\n[model]\nkind = \"convnet\"\n[data]\nkind = \"fashion-mnist\"\n");
    const Ended good = shoal({"doctor", "run.toml", "--listen", "127.0.0.1"}, folder.path());
    EXPECT_TRUE(contains(good.output, "fine   run file      run.toml")) << good.output;
    EXPECT_FALSE(std::filesystem::exists(folder / "shoal-x")) << "it leaves nothing behind";

    const Ended missing = shoal({"doctor", "no.toml", "--listen", "127.0.0.1"}, folder.path());
    EXPECT_EQ(missing.code, 1);
    EXPECT_TRUE(contains(missing.output, "wrong  run file      cannot read the run file no.toml"))
        << missing.output;
}

TEST(Doctor, AMissingVocabularyIsSaidOnce) {
    const TemporaryFolder folder;
    write_whole(folder / "text.txt", "Some text.\n");
    write_whole(folder / "run.toml",
                "[run]\nname = \"x\"\n[model]\nkind = \"albert\"\n[data]\nkind = \"text\"\n"
                "path = \"text.txt\"\nvocabulary = \"no.model\"\n");
    const Ended doctor = shoal({"doctor", "run.toml", "--listen", "127.0.0.1"}, folder.path());
    const std::size_t first = doctor.output.find("no.model");
    ASSERT_NE(first, std::string::npos) << doctor.output;
    EXPECT_EQ(doctor.output.find("no.model", first + 1), std::string::npos) << doctor.output;
}

TEST(CommandLine, WhatIsNotExpectedIsNamedInTheOrderInWhichItWasGiven) {
    const TemporaryFolder folder;
    const Ended result = shoal({"seed", "run.toml", "--steps", "3"}, folder.path());
    EXPECT_EQ(result.code, 2);
    EXPECT_TRUE(contains(result.errors, "shoal: error: not expected: --steps 3\n")) << result.errors;
}

TEST(Seed, ACopiedFolderIsAnErrorThatNamesTheKey) {
    const TemporaryFolder folder;
    const auto [first, port] = start_auxiliary(folder, {"--folder", "a"});
    std::filesystem::create_directory(folder / "b");
    std::filesystem::copy_file(folder / "a/key.pem", folder / "b/key.pem");
    const Ended copy = shoal({"seed", "run.toml", "--auxiliary", "--listen", "127.0.0.1", "--folder", "b",
                              "--bootstrap", "127.0.0.1:" + port},
                             folder.path());
    EXPECT_EQ(copy.code, 2);
    EXPECT_TRUE(contains(copy.errors, "127.0.0.1:" + port + ": another process there has this peer's key"))
        << copy.errors;
    first->signal(SIGTERM);
    EXPECT_EQ(first->wait(), 0) << "the first is not disturbed";
}

TEST(CommandLine, InitMakesNoFolderThatIsMissing) {
    const TemporaryFolder folder;
    const Ended result = shoal({"init", "missing/run.toml"}, folder.path());
    EXPECT_EQ(result.code, 2);
    EXPECT_TRUE(contains(result.errors, "there is no folder ")) << result.errors;
    EXPECT_FALSE(std::filesystem::exists(folder / "missing"));
}

TEST(CommandLine, TheHelpOfStatusNamesEveryStateThatATableCanShow) {
    const TemporaryFolder folder;
    const Ended help = shoal({"status", "--help"}, folder.path());
    for (const char* state : {"equal", "N behind", "N ahead", "loading", "DIFFERS", "silent for N s"})
        EXPECT_TRUE(contains(help.output, "\n  " + std::string(state) + " ")) << state;
}

TEST(Handshake, APeerWithOtherSettingsLearnsWhichOneDiffers) {
    const TemporaryFolder folder;
    const auto [first, port] = start_auxiliary(folder, {"--folder", "a"});
    const Ended doctor = shoal({"doctor", "run.toml", "--set", "averaging.codec=fp32", "--listen",
                                "127.0.0.1", "--bootstrap", "127.0.0.1:" + port},
                               folder.path());
    EXPECT_EQ(doctor.code, 1);
    EXPECT_TRUE(contains(doctor.output, "averaging.codec")) << doctor.output;
}

}  // namespace
}  // namespace shoal::run
