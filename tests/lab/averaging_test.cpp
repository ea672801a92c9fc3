// `shoal lab averaging`: lines that are shaped and leave nothing behind, rows, and what it reports. How fast
// rounds are is for the experiment to say.
#include "lab/namespaces.h"
#include "run/program.h"
#include "run/temporary_folder.h"

#include <array>
#include <cstdlib>
#include <fstream>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <poll.h>
#include <set>
#include <sys/syscall.h>
#include <thread>
#include <unistd.h>

#include "shoal/base/error.h"
#include "shoal/lab/averaging_rounds.h"
#include "shoal/lab/averaging_setups.h"
#include "shoal/lab/averaging_simulation.h"
#include "shoal/lab/averaging_worker.h"
#include "shoal/lab/scratch_folder.h"
#include "shoal/lab/shaped_lines.h"

namespace shoal::lab {
namespace {

using run::Program;
using run::program_folder;
using run::TemporaryFolder;

std::string said_within(int descriptor, const std::string& command) {
    std::string said;
    std::thread([&] {
        enter_network_namespace(descriptor);
        std::FILE* pipe = popen(("PATH=$PATH:/usr/sbin:/sbin; " + command).c_str(), "r");
        std::array<char, 512> part{};
        while (std::fgets(part.data(), part.size(), pipe)) said += part.data();
        pclose(pipe);
    }).join();
    return said;
}

std::set<std::string> network_devices() {
    std::set<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator("/sys/class/net"))
        names.insert(entry.path().filename().string());
    return names;
}

TEST(ShapedLines, have_an_address_and_a_rate_each_and_touch_nothing_outside) {
    if (!may_make_namespaces()) return;
    const std::set<std::string> before = network_devices();
    const ShapedLines lines({{5e6, 10e6}, {20e6, 20e6}});
    EXPECT_NE(said_within(lines.descriptor(0), "ip address show dev line").find("10.77.0.1/24"),
              std::string::npos);
    EXPECT_NE(said_within(lines.descriptor(1), "ip address show dev line").find("10.77.0.2/24"),
              std::string::npos);
    EXPECT_NE(said_within(lines.descriptor(0), "tc qdisc show dev line").find("rate 5Mbit"),
              std::string::npos);
    EXPECT_NE(said_within(lines.descriptor(1), "tc qdisc show dev line").find("rate 20Mbit"),
              std::string::npos);
    EXPECT_EQ(network_devices(), before);
}

TEST(ShapedLines, more_than_there_are_addresses_are_refused) {
    if (!may_make_namespaces()) return;
    EXPECT_THROW(ShapedLines(std::vector<ShapedLine>(kMostMachines + 1)), Error);
}

TEST(AveragingSetups, have_the_analytic_times_of_the_notes_on_lines_that_carry_95_percent) {
    std::map<std::string, double> seconds;
    for (const AveragingSetup& setup : averaging_setups({}))
        seconds[setup.name] = setup.analytic_seconds * kDelivered;
    EXPECT_NEAR(seconds.at("equal"), 2.68, 0.01);
    EXPECT_NEAR(seconds.at("hetero-equal-split"), 10.71, 0.01);
    EXPECT_NEAR(seconds.at("hetero-server"), 21.42, 0.01);
    EXPECT_NEAR(seconds.at("hetero-balanced"), 5.71, 0.01);
    EXPECT_NEAR(seconds.at("hetero-measured"), 5.71, 0.01);
    EXPECT_NEAR(seconds.at("hetero-auxiliary"), 5.71, 0.01);
    EXPECT_NEAR(seconds.at("hetero-clients"), 6.28, 0.01);
    EXPECT_EQ(seconds.size(), 7U);
}

TEST(AveragingTasks, are_the_same_after_a_command_line) {
    AveragingTask task = averaging_setups({}).back().task;
    task.rounds = 7;
    const AveragingTask copy = task_from(text_of(task));
    EXPECT_EQ(text_of(copy), text_of(task));
    EXPECT_EQ(copy.peers.size(), task.peers.size());
    EXPECT_EQ(copy.rounds, 7);
    EXPECT_TRUE(copy.peers[4].client_mode);
}

TEST(AveragingSimulation, balances_unequal_lines_and_repeats_itself) {
    const auto slowest = [](const std::string& name) {
        AveragingSize small{1, 2, 1, 1, 200'000};
        for (const AveragingSetup& setup : averaging_setups(small)) {
            if (setup.name != name) continue;
            AveragingTask task = setup.task;
            task.rounds = 2;
            return simulate_rounds(task, 1).back().whole / setup.analytic_seconds;
        }
        return 0.0;
    };
    for (const char* name : {"equal", "hetero-equal-split", "hetero-balanced", "hetero-auxiliary"}) {
        EXPECT_GE(slowest(name), 0.95) << name;
        EXPECT_LE(slowest(name), 1.35) << name;  // a short round: what is fixed weighs more
    }
    EXPECT_EQ(slowest("hetero-balanced"), slowest("hetero-balanced"));
}

TEST(Averaging, reports_every_row_that_was_asked_for) {
    if (!may_make_namespaces()) return;
    const TemporaryFolder folder;
    Program lab(program_folder() / "shoal",
                {"lab", "averaging", "--quick", "--rounds", "1", "--only", "hetero-equal-split", "--only",
                 "hetero-balanced", "--json", folder / "result.json", "--plot", folder / "result.png"},
                folder.path());
    ASSERT_EQ(lab.wait(), 0) << lab.output() << lab.errors();
    std::ifstream file(folder / "result.json");
    const nlohmann::json result = nlohmann::json::parse(file);
    EXPECT_EQ(result.at("size"), "quick");
    EXPECT_EQ(result.at("complete"), true);
    ASSERT_EQ(result.at("rows").size(), 2U);
    for (const nlohmann::json& row : result.at("rows")) {
        EXPECT_EQ(row.at("peers"), 8);
        EXPECT_EQ(row.at("rounds").size(), 1U);
        EXPECT_EQ(row.at("simulated_rounds").size(), 1U);
        EXPECT_GT(row.at("seconds_mean").get<double>(), 0.5 * row.at("analytic_seconds").get<double>());
        EXPECT_GT(row.at("simulated_seconds").get<double>(), 0.9 * row.at("analytic_seconds").get<double>());
        for (const char* phase : {"seconds", "match_seconds", "reduce_seconds", "vote_seconds"})
            EXPECT_GT(row.at("rounds").at(0).at(phase).get<double>(), 0) << phase;
        EXPECT_NE(lab.output().find(row.at("title").get<std::string>()), std::string::npos);
    }
    EXPECT_GT(result.at("gain_of_load_balancing").get<double>(), 0);
    EXPECT_EQ(result.at("demands").size(), 2U * 4 + 1);
    EXPECT_EQ(run::read_whole(folder / "result.png").substr(1, 3), "PNG");
}

TEST(Averaging, says_what_to_do_where_it_may_not_make_namespaces) {
    const TemporaryFolder folder;
    const std::string shoal = (program_folder() / "shoal").string();
    std::vector<std::string> words = {"lab", "averaging", "--quick", "--only", "equal"};
    std::filesystem::path program = shoal;
    if (may_make_namespaces()) {
        words.insert(words.begin(),
                     {"--bounding-set", "-sys_admin", "--inh-caps", "-sys_admin", "--", shoal});
        program = "/usr/bin/setpriv";
    }
    Program lab(program, words, folder.path());
    EXPECT_EQ(lab.wait(), 1) << lab.output();
    for (const char* said : {"network namespaces", "sudo", "unshare --user"})
        EXPECT_NE(lab.errors().find(said), std::string::npos) << lab.errors();
}

std::vector<pid_t> children_of(pid_t parent) {
    std::ifstream file("/proc/" + std::to_string(parent) + "/task/" + std::to_string(parent) + "/children");
    std::vector<pid_t> children;
    for (pid_t child; file >> child;) children.push_back(child);
    return children;
}

void until_ended(const std::vector<int>& descriptors) {
    for (const int descriptor : descriptors) {
        pollfd watched{.fd = descriptor, .events = POLLIN, .revents = 0};
        EXPECT_EQ(poll(&watched, 1, 60'000), 1) << "a process outlives its experiment";
        close(descriptor);
    }
}

/// Ends an experiment in the middle by a signal; returns its exit code when all that it started is gone.
int end_in_the_middle(int number) {
    const TemporaryFolder folder;
    Program lab(program_folder() / "shoal",
                {"lab", "averaging", "--quick", "--rounds", "1000", "--only", "equal"}, folder.path());
    lab.line_with("analytic");
    std::vector<int> running;
    while (running.size() < 8) {
        for (const int descriptor : std::exchange(running, {})) close(descriptor);
        for (const pid_t child : children_of(lab.process_id()))
            running.push_back(static_cast<int>(syscall(SYS_pidfd_open, child, 0)));
    }
    lab.signal(number);
    const int code = lab.wait();
    until_ended(running);
    return code;
}

std::size_t scratch_folders() {
    std::size_t count = 0;
    for (const auto& entry : std::filesystem::directory_iterator(std::filesystem::temp_directory_path()))
        count += entry.path().filename().string().starts_with("shoal-lab-averaging-") ? 1 : 0;
    return count;
}

TEST(Averaging, leaves_no_process_device_or_folder_when_it_is_ended_or_killed) {
    if (!may_make_namespaces()) return;
    const TemporaryFolder folder;
    setenv("TMPDIR", folder.path().c_str(), 1);
    const std::set<std::string> before = network_devices();
    EXPECT_EQ(end_in_the_middle(SIGINT), 1);
    EXPECT_EQ(scratch_folders(), 0U);
    EXPECT_EQ(end_in_the_middle(SIGKILL), 1000 + SIGKILL);
    EXPECT_EQ(scratch_folders(), 1U);
    {
        const ScratchFolder next("lab-averaging");
    }
    EXPECT_EQ(scratch_folders(), 0U) << "the next run removes it";
    EXPECT_EQ(network_devices(), before);
    unsetenv("TMPDIR");
}

}  // namespace
}  // namespace shoal::lab
