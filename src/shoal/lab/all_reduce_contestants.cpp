#include "shoal/lab/all_reduce_contestants.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <fmt/format.h>
#include <fstream>
#include <sstream>
#include <unistd.h>

#include "shoal/base/error.h"
#include "shoal/lab/child_process.h"
#include "shoal/lab/scratch_folder.h"

namespace shoal::lab {

namespace {

/// What one job of a benchmark may take; whoever needs longer hangs.
constexpr std::chrono::minutes kJobLimit(10);

/// The columns that a process prints of each round, in this order. Ours print all, others the first two.
constexpr std::array kColumns = {&RoundFigures::seconds,         &RoundFigures::cpu_seconds,
                                 &RoundFigures::match_seconds,   &RoundFigures::reduce_seconds,
                                 &RoundFigures::vote_seconds,    &RoundFigures::exchange_seconds,
                                 &RoundFigures::system_seconds,  &RoundFigures::adding_seconds,
                                 &RoundFigures::copying_seconds, &RoundFigures::memory_bytes_a_second};

bool is_sum_of_processes(double RoundFigures::* column) {
    return column == &RoundFigures::cpu_seconds || column == &RoundFigures::system_seconds ||
           column == &RoundFigures::adding_seconds || column == &RoundFigures::copying_seconds;
}

std::vector<RoundFigures> read_rounds(const std::filesystem::path& file) {
    std::vector<RoundFigures> rounds;
    std::ifstream input(file);
    std::string line;
    while (std::getline(input, line)) {
        std::istringstream words(line);
        RoundFigures figures;
        std::size_t read = 0;
        while (read < kColumns.size() && words >> figures.*kColumns[read]) ++read;
        if (read >= 2) rounds.push_back(figures);
    }
    return rounds;
}

std::string text_of(const std::filesystem::path& file) {
    std::ifstream input(file);
    return {std::istreambuf_iterator<char>(input), {}};
}

/// Of each round, all processes together; the first round is dropped.
std::vector<RoundFigures> combine(const std::vector<std::vector<RoundFigures>>& by_process, int rounds,
                                  const std::string& name) {
    std::vector<RoundFigures> result;
    for (std::size_t round = 1; round < static_cast<std::size_t>(rounds); ++round) {
        RoundFigures all;
        for (const auto& process : by_process) {
            if (process.size() <= round)
                throw Error(ErrorKind::system, name + " ended before its last round");
            for (const auto column : kColumns) {
                const double figure = process[round].*column;
                all.*column =
                    is_sum_of_processes(column) ? all.*column + figure : std::max(all.*column, figure);
            }
        }
        result.push_back(all);
    }
    return result;
}

std::string how_it_ended(const GroupFailure& failure) {
    return failure.status ? failure.status->to_string()
                          : fmt::format("still at work after {} minutes", kJobLimit.count());
}

/// Starts a process for each rank, waits for all, and reads what they printed.
std::vector<RoundFigures> run_processes(const std::string& name, const AllReduceJob& job,
                                        const std::filesystem::path& folder,
                                        const std::function<std::vector<std::string>(int)>& command) {
    std::vector<ChildProcess> children;
    const auto output = [&](int rank) { return folder / fmt::format("out.{}", rank); };
    for (int rank = 0; rank < job.peers; ++rank) children.emplace_back(command(rank), output(rank));
    // The others wait for the one that failed.
    if (const auto failure = wait_for_all(children, kJobLimit))
        throw Error(ErrorKind::system, fmt::format("{} failed ({}): {}", name, how_it_ended(*failure),
                                                   text_of(output(static_cast<int>(failure->child)))));
    std::vector<std::vector<RoundFigures>> by_process;
    for (int rank = 0; rank < job.peers; ++rank) by_process.push_back(read_rounds(output(rank)));
    return combine(by_process, job.rounds, name);
}

std::vector<RoundFigures> run_worker(const AllReduceJob& job, const std::string& name,
                                     const std::vector<std::string>& flags) {
    ScratchFolder folder("bench-allreduce");
    const auto command = [&](int rank) {
        std::vector<std::string> words = {own_program().string(),
                                          "bench",
                                          "allreduce-worker",
                                          "--rank",
                                          std::to_string(rank),
                                          "--size",
                                          std::to_string(job.peers),
                                          "--folder",
                                          folder.path().string(),
                                          "--elements",
                                          std::to_string(job.elements),
                                          "--rounds",
                                          std::to_string(job.rounds),
                                          "--codec",
                                          job.codec};
        words.insert(words.end(), flags.begin(), flags.end());
        return words;
    };
    return run_processes(name, job, folder.path(), command);
}

std::vector<RoundFigures> run_gloo(const AllReduceJob& job) {
    ScratchFolder folder("bench-allreduce");
    const auto program = own_program().parent_path() / "shoal-bench-gloo";
    const auto store = folder.path() / "store";
    std::filesystem::create_directory(store);
    const auto command = [&](int rank) {
        return std::vector<std::string>{
            program.string(), std::to_string(rank),         std::to_string(job.peers),
            store.string(),   std::to_string(job.elements), std::to_string(job.rounds)};
    };
    return run_processes("gloo", job, folder.path(), command);
}

std::vector<RoundFigures> run_mpi(const AllReduceJob& job) {
    ScratchFolder folder("bench-allreduce");
    const auto program = own_program().parent_path() / "shoal-bench-mpi";
    const std::string prefix = (folder.path() / "rank").string();
    std::vector<std::string> words = {"/usr/bin/mpirun",
                                      "--allow-run-as-root",
                                      "--oversubscribe",
                                      "--mca",
                                      "btl",
                                      "tcp,self",
                                      "-n",
                                      std::to_string(job.peers),
                                      program.string(),
                                      std::to_string(job.elements),
                                      std::to_string(job.rounds),
                                      prefix};
    std::vector<ChildProcess> children;
    children.emplace_back(words, folder.path() / "out");
    if (const auto failure = wait_for_all(children, kJobLimit))
        throw Error(ErrorKind::system, fmt::format("Open MPI failed ({}): {}", how_it_ended(*failure),
                                                   text_of(folder.path() / "out")));
    std::vector<std::vector<RoundFigures>> by_process;
    for (int rank = 0; rank < job.peers; ++rank)
        by_process.push_back(read_rounds(prefix + "." + std::to_string(rank)));
    return combine(by_process, job.rounds, "Open MPI");
}

}  // namespace

std::vector<RoundFigures> run_our_all_reduce(const AllReduceJob& job, bool encrypted, bool measure_exchange) {
    std::vector<std::string> flags;
    if (!encrypted) flags.push_back("--no-encryption");
    if (measure_exchange) flags.push_back("--pure-transfer");
    return run_worker(job, "the averaging worker", flags);
}

std::vector<Contestant> all_reduce_contestants() {
    std::vector<Contestant> all;
    all.push_back(
        {"shoal, TLS", "tls", [](const auto& job) { return run_our_all_reduce(job, true, false); }});
    all.push_back({"shoal, no encryption", "plain",
                   [](const auto& job) { return run_our_all_reduce(job, false, false); }});
    const auto folder = own_program().parent_path();
    if (access((folder / "shoal-bench-gloo").c_str(), X_OK) == 0)
        all.push_back({"gloo ring, no encryption", "gloo", run_gloo});
    else
        fmt::print("gloo is left out: build with -DSHOAL_BUILD_BENCH=ON to compare with it\n");
    if (access((folder / "shoal-bench-mpi").c_str(), X_OK) == 0 && access("/usr/bin/mpirun", X_OK) == 0)
        all.push_back({"Open MPI, TCP", "mpi", run_mpi});
    else
        fmt::print("Open MPI is left out: build with -DSHOAL_BUILD_BENCH=ON to compare with it\n");
    all.push_back({"the same bytes over bare TCP", "tcp",
                   [](const auto& job) { return run_worker(job, "the bare exchange", {"--bare-tcp"}); }});
    return all;
}

}  // namespace shoal::lab
