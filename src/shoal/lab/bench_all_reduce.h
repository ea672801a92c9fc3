// `shoal bench allreduce` and `shoal bench round`: whole averaging rounds among processes on loopback, beside
// gloo and Open MPI.
#pragma once

#include <cstddef>
#include <string>

#include "shoal/run/result.h"

namespace shoal::lab {

struct BenchAllReduceOptions {
    run::ResultOptions result;
    int peers = 4;
    std::size_t bytes = std::size_t{64} << 20;  ///< of the fp32 vector
    std::string codec = "fp32";
    int turns = 5;   ///< each turn runs every contestant once
    int rounds = 6;  ///< of each contestant in a turn; the first is not counted
};

/// Runs ours with TLS, ours without, gloo and Open MPI in turns, and reports seconds, CPU seconds and paired
/// ratios to gloo. Contestants that are not built (CMake option SHOAL_BUILD_BENCH) or not installed are named
/// and left out. Returns the exit code.
///
/// Each process of ours and of gloo's has a session of its own, because it stands for a machine of its own:
/// Linux shares a busy machine by session, and one that holds four processes gets no more of it than one that
/// holds a single compiler. Open MPI's stay in one session: they wait by yielding, which works within one.
int bench_all_reduce(const BenchAllReduceOptions& options);

struct BenchRoundOptions {
    run::ResultOptions result;
    int peers = 4;
    std::size_t bytes = 64 * 1024;
    int rounds = 50;
};

/// Measures what a round costs beyond the exchange of its bytes: time from 'everybody ready' to 'everybody
/// has the agreed result' minus the time of the same exchange over bare streams. Returns the exit code.
int bench_round(const BenchRoundOptions& options);

}  // namespace shoal::lab
