// What `shoal bench allreduce` compares: our averaging rounds with and without TLS, gloo, Open MPI, and as a
// limit the bare exchange of the same bytes over TCP.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <vector>

namespace shoal::lab {

/// One case of the benchmark.
struct AllReduceJob {
    int peers = 4;
    std::size_t elements = 0;  ///< floats of the vector
    std::string codec = "fp32";
    int rounds = 2;  ///< the first warms up and is not counted
};

/// One round: of seconds the slowest process's, of processor seconds the sum of all processes. What a
/// contestant does not report is 0.
struct RoundFigures {
    double seconds = 0;
    double cpu_seconds = 0;
    double match_seconds = 0, reduce_seconds = 0, vote_seconds = 0;
    double exchange_seconds = 0;       ///< of the same bytes over bare streams, where that was asked for
    double system_seconds = 0;         ///< of cpu_seconds, those in the kernel: sockets and their copies
    double adding_seconds = 0;         ///< processor time of as many additions, measured alone
    double copying_seconds = 0;        ///< processor time of as many copies, measured alone
    double memory_bytes_a_second = 0;  ///< at which one process copies, measured alone
};

using AllReduceRun = std::function<std::vector<RoundFigures>(const AllReduceJob&)>;

struct Contestant {
    std::string name;   ///< for people
    std::string label;  ///< short and without blanks
    AllReduceRun run;   ///< all counted rounds; throws Error(system) with what a process said when it failed
};

/// Runs ours. @param measure_exchange  also times the exchange of the same bytes over bare streams
std::vector<RoundFigures> run_our_all_reduce(const AllReduceJob& job, bool encrypted, bool measure_exchange);

/// Ours with TLS, ours without, gloo, Open MPI, bare TCP; those that are not built (CMake option
/// SHOAL_BUILD_BENCH) or not installed are named on standard output and left out.
///
/// Each process of ours and of gloo's has a session of its own, because it stands for a machine of its own:
/// Linux shares a busy machine by session, and one that holds four processes gets no more of it than one that
/// holds a single compiler. Open MPI's stay in one session: they wait by yielding, which works within one.
std::vector<Contestant> all_reduce_contestants();

}  // namespace shoal::lab
