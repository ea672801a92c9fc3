#include "shoal/lab/saddle_processes.h"

#include <bit>
#include <fmt/format.h>
#include <fstream>
#include <optional>
#include <sstream>

#include "shoal/base/error.h"
#include "shoal/base/hash.h"
#include "shoal/lab/child_process.h"
#include "shoal/lab/scratch_folder.h"
#include "shoal/run/progress_line.h"

namespace shoal::lab {
namespace {

constexpr auto kLook = std::chrono::milliseconds(100);

template <typename Number>
nlohmann::json or_null(const std::optional<Number>& value) {
    return value ? nlohmann::json(*value) : nlohmann::json();
}

std::optional<double> number_or_nothing(const nlohmann::json& json) {
    return json.is_null() ? std::nullopt : std::optional<double>(json.get<double>());
}

/// What one process has said of a row.
struct ProcessResult {
    std::uint64_t iterations = 0, payload = 0, wire = 0;
    double seconds = 0;
    std::string fingerprint;
};

class Processes {
  public:
    Processes(const ProblemChoice& choice, const std::vector<SaddleRow>& rows)
        : rows_(rows), folder_("lab-saddle"), results_(choice.devices) {
        std::ofstream(folder_.path() / "task.json") << task_of(choice, rows).dump();
        for (std::size_t rank = 0; rank < choice.devices; ++rank) {
            const std::filesystem::path output = output_of(rank);
            const std::vector<std::string> words = {
                own_program().string(), "lab",      "saddle-worker",        "--rank",
                std::to_string(rank),   "--folder", folder_.path().string()};
            children_.emplace_back(words, output);
            tails_.emplace_back(output);
        }
    }

    void run() {
        while (!ended()) read();
        read();
        line_.clear();
        for (std::size_t rank = 0; rank < results_.size(); ++rank)
            if (results_[rank].size() != rows_.size())
                throw Error(ErrorKind::system, fmt::format("device {} did not finish: {}", rank, said(rank)));
    }

    const std::vector<ProcessResult>& of(std::size_t rank) const { return results_[rank]; }

  private:
    std::filesystem::path output_of(std::size_t rank) const {
        return folder_.path() / fmt::format("output-{}", rank);
    }

    std::string said(std::size_t rank) const {
        std::ifstream input(output_of(rank));
        return {std::istreambuf_iterator<char>(input), {}};
    }

    void read() {
        for (std::size_t rank = 0; rank < tails_.size(); ++rank) {
            for (const std::string& line : tails_[rank].new_lines()) {
                std::istringstream words(line);
                std::string first;
                ProcessResult result;
                std::uint64_t iteration = 0;
                words >> first;
                if (first == "row" && words >> result.iterations >> result.fingerprint >> result.payload >>
                                          result.wire >> result.seconds)
                    results_[rank].push_back(result);
                if (first == "at" && words >> iteration && rank == 0) show(iteration);
            }
        }
    }

    void show(std::uint64_t iteration) {
        const std::size_t row = std::min(results_[0].size(), rows_.size() - 1);
        line_.show(static_cast<double>(row) / static_cast<double>(rows_.size()),
                   fmt::format("{} by processes: iteration {}", rows_[row].title, iteration));
    }

    /// Waits a little for the first that runs.
    bool ended() {
        ChildProcess* running = nullptr;
        for (std::size_t rank = 0; rank < children_.size(); ++rank) {
            const std::optional<ExitStatus> status = children_[rank].poll();
            if (!status && !running) running = &children_[rank];
            if (status && (status->signalled || status->code != 0))
                throw Error(ErrorKind::system, fmt::format("the process of device {} failed ({}): {}", rank,
                                                           status->to_string(), said(rank)));
        }
        if (running) running->wait_until(std::chrono::steady_clock::now() + kLook);
        return running == nullptr;
    }

    const std::vector<SaddleRow>& rows_;
    ScratchFolder folder_;
    run::ProgressLine line_;
    std::vector<std::vector<ProcessResult>> results_;  // by rank
    std::vector<LineTail> tails_;
    std::vector<ChildProcess> children_;  // last: ends first
};

}  // namespace

nlohmann::json task_of(const ProblemChoice& choice, const std::vector<SaddleRow>& rows) {
    nlohmann::json json = {{"problem", json_of(choice)}, {"rows", nlohmann::json::array()}};
    for (const SaddleRow& row : rows) {
        const variational::MethodSettings& settings = row.settings;
        json["rows"].push_back({{"method", settings.method},
                                {"device_codec", settings.device_codec},
                                {"server_codec", settings.server_codec},
                                {"step_size", or_null(settings.step_size)},
                                {"refresh", or_null(settings.refresh)},
                                {"batch", settings.batch},
                                {"participants", settings.participants},
                                {"local_steps", settings.local_steps},
                                {"optimism", settings.optimism},
                                {"seed", settings.seed},
                                {"iterations", row.rule.iterations},
                                {"error", row.rule.error}});
    }
    return json;
}

SaddleTask task_from(const nlohmann::json& json) {
    SaddleTask task;
    task.choice = problem_choice_of(json.at("problem"));
    for (const nlohmann::json& row : json.at("rows")) {
        variational::MethodSettings settings;
        settings.method = row.at("method");
        settings.device_codec = row.at("device_codec");
        settings.server_codec = row.at("server_codec");
        settings.step_size = number_or_nothing(row.at("step_size"));
        settings.refresh = number_or_nothing(row.at("refresh"));
        settings.batch = row.at("batch");
        settings.participants = row.at("participants");
        settings.local_steps = row.at("local_steps");
        settings.optimism = row.at("optimism");
        settings.seed = row.at("seed");
        variational::StopRule rule;
        rule.iterations = row.at("iterations");
        rule.error = row.at("error");
        task.settings.push_back(std::move(settings));
        task.rules.push_back(rule);
    }
    return task;
}

std::string fingerprint_of(const variational::Trajectory& trajectory) {
    std::vector<std::uint64_t> words;
    for (const variational::Waypoint& one : trajectory.way)
        words.push_back(std::bit_cast<std::uint64_t>(one.error));
    for (const double value : trajectory.point) words.push_back(std::bit_cast<std::uint64_t>(value));
    const variational::Traffic& traffic = trajectory.way.back().traffic;
    words.insert(words.end(), {traffic.bytes_up, traffic.bytes_down, traffic.values_up, traffic.values_down});
    return fingerprint(as_bytes(std::span<const std::uint64_t>(words))).hex();
}

void compare_processes(const ProblemChoice& choice, const std::vector<SaddleRow>& rows, run::Result& result) {
    std::vector<SaddleRow> twins = rows;
    for (SaddleRow& twin : twins) twin.rule.every = 1;
    const std::vector<SaddleOutcome> outcomes = run_rows(twins);
    Processes processes(choice, twins);
    processes.run();
    fmt::print(
        "\n{} processes over loopback; bytes that device 0 sent\n{:<40} {:>10} {:>10} {:>10} {:>9}  {}\n",
        choice.devices, "", "iterations", "payload", "with TLS", "seconds", "bits of the twin");
    for (std::size_t i = 0; i < rows.size(); ++i) {
        const std::string wanted = fingerprint_of(outcomes[i].trajectory);
        bool same = true;
        for (std::size_t rank = 0; rank < choice.devices; ++rank)
            same = same && processes.of(rank)[i].fingerprint == wanted;
        const ProcessResult& first = processes.of(0)[i];
        fmt::print("{:<40} {:>10} {:>10} {:>10} {:>9.1f}  {}\n", rows[i].title, first.iterations,
                   first.payload, first.wire, first.seconds, same ? "equal" : "different");
        result.json()["processes"].push_back({{"title", rows[i].title},
                                              {"iterations", first.iterations},
                                              {"payload_sent", first.payload},
                                              {"wire_sent", first.wire},
                                              {"seconds", first.seconds},
                                              {"equal_bits", same}});
        result.demand(rows[i].title + ": every process has the bits of the run in one process", same);
    }
}

}  // namespace shoal::lab
