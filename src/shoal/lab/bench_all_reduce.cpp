#include "shoal/lab/bench_all_reduce.h"

#include <algorithm>
#include <cstdio>
#include <fmt/format.h>
#include <fstream>
#include <functional>
#include <map>
#include <sstream>
#include <unistd.h>

#include "shoal/base/error.h"
#include "shoal/base/random.h"
#include "shoal/lab/child_process.h"

namespace shoal::lab {

namespace {

/// A fresh folder that goes away with this object.
class ScratchFolder {
  public:
    ScratchFolder()
        : path_(std::filesystem::temp_directory_path() /
                fmt::format("shoal-bench-{}-{:08x}", getpid(), Random::from_entropy().below(1u << 31))) {
        std::filesystem::create_directories(path_);
    }
    ~ScratchFolder() {
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
    }
    ScratchFolder(const ScratchFolder&) = delete;
    ScratchFolder& operator=(const ScratchFolder&) = delete;
    const std::filesystem::path& path() const { return path_; }

  private:
    std::filesystem::path path_;
};

using Columns = std::vector<double>;

// What a process prints of a round. Ours print all, others the first two.
constexpr std::size_t kWhole = 0, kCpu = 1, kMatch = 2, kReduce = 3, kVote = 4, kExchange = 5;

std::vector<Columns> read_rounds(const std::filesystem::path& file) {
    std::vector<Columns> rounds;
    std::ifstream input(file);
    std::string line;
    while (std::getline(input, line)) {
        std::istringstream words(line);
        Columns columns;
        for (double value; words >> value;) columns.push_back(value);
        if (!columns.empty()) rounds.push_back(columns);
    }
    return rounds;
}

std::string text_of(const std::filesystem::path& file) {
    std::ifstream input(file);
    return {std::istreambuf_iterator<char>(input), {}};
}

double median(Columns values) {
    if (values.empty()) return std::nan("");
    std::sort(values.begin(), values.end());
    return values[values.size() / 2];
}

/// For each round and column, the slowest process (of CPU seconds, the sum); the first round warms up and is
/// dropped.
std::vector<Columns> combine(const std::vector<std::vector<Columns>>& by_process, std::size_t rounds,
                             const std::string& name) {
    std::vector<Columns> result;
    for (std::size_t round = 1; round < rounds; ++round) {
        Columns worst;
        for (const auto& process : by_process) {
            if (process.size() < rounds)
                throw Error(ErrorKind::system, name + " ended before its last round");
            worst.resize(std::max(worst.size(), process[round].size()));
            for (std::size_t i = 0; i < process[round].size(); ++i)
                worst[i] = i == kCpu ? worst[i] + process[round][i] : std::max(worst[i], process[round][i]);
        }
        result.push_back(worst);
    }
    return result;
}

/// What one job of a benchmark may take; whoever needs longer hangs.
constexpr std::chrono::minutes kJobLimit(10);

std::string how_it_ended(const GroupFailure& failure) {
    return failure.status ? failure.status->to_string()
                          : fmt::format("still at work after {} minutes", kJobLimit.count());
}

/// Starts `size` processes, waits for all, and reads what they printed.
std::vector<Columns> run_processes(const std::string& name, int size, int rounds,
                                   const std::filesystem::path& folder,
                                   const std::function<std::vector<std::string>(int)>& command) {
    std::vector<ChildProcess> children;
    for (int rank = 0; rank < size; ++rank)
        children.emplace_back(command(rank), folder / fmt::format("out.{}", rank));
    // The others wait for the one that failed.
    if (const auto failure = wait_for_all(children, kJobLimit))
        throw Error(ErrorKind::system, fmt::format("{} failed ({}): {}", name, how_it_ended(*failure),
                                                   text_of(folder / fmt::format("out.{}", failure->child))));
    std::vector<std::vector<Columns>> by_process;
    for (int rank = 0; rank < size; ++rank)
        by_process.push_back(read_rounds(folder / fmt::format("out.{}", rank)));
    return combine(by_process, static_cast<std::size_t>(rounds), name);
}

struct Job {
    int peers;
    std::size_t elements;
    std::string codec;
    int rounds;
};

std::vector<Columns> run_ours(const Job& job, bool encrypted, bool pure) {
    ScratchFolder folder;
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
        if (!encrypted) words.push_back("--no-encryption");
        if (pure) words.push_back("--pure-transfer");
        return words;
    };
    return run_processes("the averaging worker", job.peers, job.rounds, folder.path(), command);
}

std::vector<Columns> run_gloo(const Job& job) {
    ScratchFolder folder;
    const auto program = own_program().parent_path() / "shoal-bench-gloo";
    const auto store = folder.path() / "store";
    std::filesystem::create_directory(store);
    const auto command = [&](int rank) {
        return std::vector<std::string>{
            program.string(), std::to_string(rank),         std::to_string(job.peers),
            store.string(),   std::to_string(job.elements), std::to_string(job.rounds)};
    };
    return run_processes("gloo", job.peers, job.rounds, folder.path(), command);
}

std::vector<Columns> run_mpi(const Job& job) {
    ScratchFolder folder;
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
    std::vector<std::vector<Columns>> by_process;
    for (int rank = 0; rank < job.peers; ++rank)
        by_process.push_back(read_rounds(prefix + "." + std::to_string(rank)));
    return combine(by_process, static_cast<std::size_t>(job.rounds), "Open MPI");
}

Columns column(const std::vector<Columns>& rounds, std::size_t index) {
    Columns values;
    for (const auto& round : rounds) values.push_back(round.at(index));
    return values;
}

struct Contestant {
    std::string name;
    std::function<std::vector<Columns>(const Job&)> run;
    Columns seconds = {};       ///< all counted rounds
    Columns turn_medians = {};  ///< one a turn, for paired ratios
    Columns cpu_seconds = {};   ///< of all processes together, one median a turn
};

std::vector<Contestant> contestants() {
    std::vector<Contestant> all;
    all.push_back({"shoal, TLS", [](const Job& job) { return run_ours(job, true, false); }});
    all.push_back({"shoal, no encryption", [](const Job& job) { return run_ours(job, false, false); }});
    const auto folder = own_program().parent_path();
    if (access((folder / "shoal-bench-gloo").c_str(), X_OK) == 0)
        all.push_back({"gloo ring, no encryption", run_gloo});
    else
        fmt::print("gloo is left out: build with -DSHOAL_BUILD_BENCH=ON to compare with it\n");
    if (access((folder / "shoal-bench-mpi").c_str(), X_OK) == 0 && access("/usr/bin/mpirun", X_OK) == 0)
        all.push_back({"Open MPI, TCP", run_mpi});
    else
        fmt::print("Open MPI is left out: build with -DSHOAL_BUILD_BENCH=ON to compare with it\n");
    return all;
}

/// Median over turns of one contestant's figure over the other's, turn by turn, so that a drifting machine
/// cancels out.
double paired_ratio(const Columns& a, const Columns& b) {
    Columns ratios;
    for (std::size_t turn = 0; turn < a.size(); ++turn) ratios.push_back(a[turn] / b[turn]);
    return median(ratios);
}

}  // namespace

int bench_all_reduce(const BenchAllReduceOptions& options) {
    const Job job{options.peers, std::max<std::size_t>(1, options.bytes / sizeof(float)), options.codec,
                  options.rounds};
    const int turns = options.result.quick ? std::min(options.turns, 3) : options.turns;
    auto all = contestants();
    fmt::print(
        "all-reduce of {:.1f} MiB fp32 among {} processes on loopback, codec {}, {} turns of {} rounds\n",
        static_cast<double>(options.bytes) / (1 << 20), job.peers, job.codec, turns, job.rounds - 1);
    for (int turn = 0; turn < turns; ++turn) {
        for (auto& contestant : all) {
            const auto rounds = contestant.run(job);
            const Columns seconds = column(rounds, kWhole);
            contestant.turn_medians.push_back(median(seconds));
            contestant.cpu_seconds.push_back(median(column(rounds, kCpu)));
            contestant.seconds.insert(contestant.seconds.end(), seconds.begin(), seconds.end());
            fmt::print("\r\033[2Kturn {}/{}: {} {:.3f} s", turn + 1, turns, contestant.name,
                       contestant.turn_medians.back());
            std::fflush(stdout);
        }
    }
    fmt::print("\r\033[2K");
    run::Result result("bench allreduce", options.result);
    result.json()["peers"] = job.peers;
    result.json()["bytes"] = options.bytes;
    result.json()["codec"] = job.codec;
    const auto gloo =
        std::find_if(all.begin(), all.end(), [](const Contestant& c) { return c.name.starts_with("gloo"); });
    for (const auto& contestant : all) {
        const double best = *std::min_element(contestant.seconds.begin(), contestant.seconds.end());
        nlohmann::json row = {{"name", contestant.name},
                              {"best_seconds", best},
                              {"median_seconds", median(contestant.seconds)},
                              {"cpu_seconds", median(contestant.cpu_seconds)}};
        fmt::print("{:<26} best {:.3f} s  median {:.3f} s  CPU {:.3f} s", contestant.name, best,
                   median(contestant.seconds), median(contestant.cpu_seconds));
        if (gloo != all.end()) {
            const double ratio = paired_ratio(contestant.turn_medians, gloo->turn_medians);
            const double cpu_ratio = paired_ratio(contestant.cpu_seconds, gloo->cpu_seconds);
            row["ratio_to_gloo"] = ratio;
            row["cpu_ratio_to_gloo"] = cpu_ratio;
            fmt::print("  {:.2f} x gloo's time, {:.2f} x its CPU", ratio, cpu_ratio);
        }
        fmt::print("\n");
        result.json()["contestants"].push_back(row);
    }
    if (gloo != all.end()) {
        result.demand_at_most("with TLS, time over gloo's without",
                              paired_ratio(all[0].turn_medians, gloo->turn_medians), 1.5);
        result.demand_at_most("without TLS, time over gloo's",
                              paired_ratio(all[1].turn_medians, gloo->turn_medians), 1.0);
    } else {
        result.demand("compared with gloo", false);
    }
    return result.finish();
}

int bench_round(const BenchRoundOptions& options) {
    const Job job{options.peers, std::max<std::size_t>(1, options.bytes / sizeof(float)), "fp32",
                  (options.result.quick ? 20 : options.rounds) + 1};
    const auto rounds = run_ours(job, true, true);
    Columns overhead;
    for (const auto& round : rounds) overhead.push_back(round.at(kWhole) - round.at(kExchange));
    const double whole = median(column(rounds, kWhole)), match = median(column(rounds, kMatch)),
                 reduce = median(column(rounds, kReduce)), vote = median(column(rounds, kVote)),
                 pure = median(column(rounds, kExchange));
    std::sort(overhead.begin(), overhead.end());
    const double p95 = overhead[overhead.size() * 95 / 100];
    fmt::print(
        "round of {} kB among {} processes on loopback, median over {} rounds, slowest process of each:\n",
        options.bytes / 1000, job.peers, rounds.size());
    fmt::print(
        "  whole round {:.1f} ms = match {:.1f} + reduce {:.1f} + vote {:.1f}; bare exchange of the same "
        "bytes {:.1f} ms\n",
        whole * 1e3, match * 1e3, reduce * 1e3, vote * 1e3, pure * 1e3);
    fmt::print("  overhead {:.1f} ms (95 % of the rounds: {:.1f} ms)\n", median(overhead) * 1e3, p95 * 1e3);
    run::Result result("bench round", options.result);
    result.json().update({{"peers", job.peers},
                          {"bytes", options.bytes},
                          {"whole_seconds", whole},
                          {"match_seconds", match},
                          {"reduce_seconds", reduce},
                          {"vote_seconds", vote},
                          {"exchange_seconds", pure},
                          {"overhead_seconds", median(overhead)},
                          {"overhead_p95_seconds", p95}});
    result.demand_at_most("overhead of a round on loopback", median(overhead) * 1e3, 100, "ms");
    return result.finish();
}

}  // namespace shoal::lab
