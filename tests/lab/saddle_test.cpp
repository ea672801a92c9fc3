// `shoal lab bilinear` and `shoal lab saddle`: what they demand of the methods holds, processes have the bits
// of the run in one process, and a process that is lost is named by the others.
#include "run/program.h"
#include "run/temporary_folder.h"

#include <deque>
#include <fstream>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "shoal/base/error.h"
#include "shoal/lab/saddle_problems.h"
#include "shoal/lab/saddle_processes.h"

namespace shoal::lab {
namespace {

using run::Program;
using run::program_folder;
using run::TemporaryFolder;

nlohmann::json read_json(const std::filesystem::path& file) {
    std::ifstream input(file);
    return nlohmann::json::parse(input);
}

void write(const std::filesystem::path& file, const std::string& text) {
    std::ofstream(file) << text;
}

TEST(LabBilinear, meets_what_is_demanded_and_processes_have_the_bits_of_the_twin) {
    const TemporaryFolder folder;
    Program lab(program_folder() / "shoal",
                {"lab", "bilinear", "--quick", "--processes", "--check", "--json", folder / "result.json",
                 "--plot", folder / "picture.svg"},
                folder.path());
    EXPECT_EQ(lab.wait(), 0) << lab.output() << lab.errors();
    const nlohmann::json result = read_json(folder / "result.json");
    EXPECT_EQ(result.at("size"), "quick");
    ASSERT_EQ(result.at("processes").size(), 4U);
    for (const nlohmann::json& row : result.at("processes")) {
        EXPECT_TRUE(row.at("equal_bits").get<bool>()) << row;
        // What TLS and frames add; what goes to a device's own share is not sent at all.
        EXPECT_GT(row.at("wire_sent"), row.at("payload_sent")) << row;
    }
    EXPECT_GT(std::filesystem::file_size(folder / "picture.svg"), 1000U);
}

TEST(LabSaddle, every_problem_meets_what_is_demanded) {
    for (const std::string problem : {"game", "burglar", "regression"}) {
        const TemporaryFolder folder;
        Program lab(program_folder() / "shoal",
                    {"lab", "saddle", problem, "--quick", "--check", "--json", folder / "result.json"},
                    folder.path());
        EXPECT_EQ(lab.wait(), 0) << lab.output() << lab.errors();
        EXPECT_GT(read_json(folder / "result.json").at("demands").size(), 5U);
    }
}

TEST(LabSaddle, solves_a_problem_that_a_user_wrote_in_python) {
    for (const std::string kind : {"auction", "ridge"}) {
        const TemporaryFolder folder;
        const std::string file = folder / (kind + ".pt");
        Program make("/usr/bin/python3", {SHOAL_EXAMPLES "/own_saddle/make_saddle.py", kind, file},
                     folder.path());
        ASSERT_EQ(make.wait(), 0) << make.output() << make.errors();
        std::vector<std::string> arguments = {
            "lab", "saddle", file, "--quick", "--check", "--json", folder / "result.json"};
        const bool processes = kind == "auction";
        if (processes) arguments.push_back("--processes");
        Program lab(program_folder() / "shoal", arguments, folder.path());
        EXPECT_EQ(lab.wait(), 0) << lab.output() << lab.errors();
        if (!processes) continue;
        const nlohmann::json rows = read_json(folder / "result.json").at("processes");
        EXPECT_GT(rows.size(), 3U);
        for (const nlohmann::json& row : rows) EXPECT_TRUE(row.at("equal_bits").get<bool>()) << row;
    }
}

TEST(LabSaddle, says_what_is_wrong_with_its_arguments) {
    const TemporaryFolder folder;
    EXPECT_EQ(run::shoal({"lab", "saddle", "chess"}, folder.path()).code, 2);
    write(folder / "bad.txt", "1 1:0.5 2:x\n");
    const run::Ended result =
        run::shoal({"lab", "saddle", "regression", "--data", (folder / "bad.txt").string()}, folder.path());
    EXPECT_EQ(result.code, 2);
    EXPECT_NE(result.errors.find("bad.txt:1: 'x' is no number"), std::string::npos) << result.errors;
}

TEST(SaddleWorker, names_the_process_that_was_killed) {
    const TemporaryFolder folder;
    ProblemChoice choice;
    choice.devices = 3;
    choice.size = 10;
    SaddleRow row;
    row.settings.method = "masha1";
    row.settings.device_codec = "rand_k:0.3";
    row.settings.step_size = 0.01;
    row.rule.iterations = 100'000'000;
    write(folder / "task.json", task_of(choice, {row}).dump());
    std::deque<Program> workers;
    for (const std::string rank : {"0", "1", "2"}) {
        std::filesystem::create_directory(folder / ("of-" + rank));
        workers.emplace_back(program_folder() / "shoal",
                             std::vector<std::string>{"lab", "saddle-worker", "--rank", rank, "--folder",
                                                      folder.path().string()},
                             folder / ("of-" + rank));
    }
    workers[1].line_with("at 100");
    workers[1].signal(SIGKILL);
    for (const std::size_t survivor : {0, 2}) {
        EXPECT_EQ(workers[survivor].wait(), 1) << workers[survivor].errors();
        EXPECT_NE(workers[survivor].errors().find("device 1 (peer "), std::string::npos)
            << workers[survivor].errors();
    }
}

TEST(SaddleTask, travels_as_text_without_a_change) {
    ProblemChoice choice;
    choice.name = "regression";
    choice.seed = 7;
    choice.data = "/some/where";
    SaddleRow row;
    row.settings.method = "masha2";
    row.settings.step_size = 0.1;  // no binary fraction: every digit counts
    row.settings.batch = 3;
    row.rule.error = 1e-7;
    const nlohmann::json json = task_of(choice, {row, row});
    const SaddleTask task = task_from(nlohmann::json::parse(json.dump()));
    EXPECT_EQ(json_of(task.choice), json_of(choice));
    ASSERT_EQ(task.settings.size(), 2U);
    EXPECT_EQ(task.settings[1].step_size, 0.1);
    EXPECT_FALSE(task.settings[1].refresh);
    EXPECT_EQ(task.settings[1].batch, 3U);
    EXPECT_EQ(task.rules[1].error, 1e-7);
}

TEST(SaddleData, reads_the_format_of_libsvm_sorted_by_target) {
    const TemporaryFolder folder;
    write(folder / "data", "+1 1:0.5 3:-2e-1\n\n-1 2:1\r\n+1\n");
    const variational::Samples samples = read_libsvm(folder / "data");
    ASSERT_EQ(samples.features.rows(), 3U);
    ASSERT_EQ(samples.features.columns(), 3U);
    EXPECT_EQ(samples.targets, (variational::Vector{-1, 1, 1}));
    EXPECT_EQ(samples.features(0, 1), 1);
    EXPECT_EQ(samples.features(1, 0), 0.5);
    EXPECT_EQ(samples.features(1, 2), -0.2);
    EXPECT_EQ(samples.features(2, 0), 0);
}

TEST(SaddleData, refuses_what_it_cannot_read_and_says_where) {
    const TemporaryFolder folder;
    const std::string limit = std::to_string(kMaximumFeatures), beyond = std::to_string(kMaximumFeatures + 1);
    for (const std::string bad :
         {"x", "1 1", "1 0:1", "1 2:1 2:1", "1 2:1 1:1", "1 1:nan", "1 1:1e999", "1 -1:1", "1 1:2:3"}) {
        write(folder / "data", "1 1:1\n" + bad + "\n");
        try {
            read_libsvm(folder / "data");
            ADD_FAILURE() << bad;
        } catch (const Error& error) {
            EXPECT_EQ(error.kind(), ErrorKind::bad_input);
            EXPECT_NE(std::string(error.what()).find("data:2: "), std::string::npos) << error.what();
        }
    }
    write(folder / "data", "1 " + beyond + ":1\n");
    EXPECT_THROW(read_libsvm(folder / "data"), Error);
    write(folder / "data", "1 " + limit + ":1\n");
    EXPECT_EQ(read_libsvm(folder / "data").features.columns(), kMaximumFeatures);
    EXPECT_THROW(read_libsvm(folder / "nowhere"), Error);
    EXPECT_THROW(read_garments(folder.path()), Error);
}

TEST(SaddleData, garments_of_fashion_mnist_are_two_classes_in_their_order) {
    ProblemChoice choice;
    choice.name = "regression";
    const auto problem = make_problem(choice);
    EXPECT_EQ(problem->dimension(), 2U * 196);
    EXPECT_EQ(problem->components(0), 200U);
    // It solves itself, to rounding.
    const variational::Vector solution = problem->solution().value();
    EXPECT_LT(variational::norm(full_operator(*problem, solution)),
              1e-12 * variational::norm(full_operator(*problem, problem->start())));
    // Its constants hold where ||w||, ||r|| <= 1 only.
    const variational::Vector weights(solution.begin(), solution.begin() + 196);
    const variational::Vector shift(solution.begin() + 196, solution.end());
    EXPECT_LE(variational::norm(weights), 1);
    EXPECT_LE(variational::norm(shift), 1);
}

}  // namespace
}  // namespace shoal::lab
