// `shoal bench allreduce` and `shoal bench round`: whole averaging rounds among processes on loopback, beside
// gloo and Open MPI; and our codecs on lines of a given rate.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "shoal/run/result.h"

namespace shoal::lab {

struct BenchAllReduceOptions {
    run::ResultOptions result;
    std::vector<int> peers = {4};
    std::vector<std::size_t> bytes = {std::size_t{64} << 20};  ///< of the fp32 vector
    std::vector<std::string> codecs = {"fp32"};
    double megabits = 0;  ///< per second, of each peer's line; 0: loopback as it is
    int turns = 5;        ///< each turn runs every contestant once
    int rounds = 6;       ///< of each contestant in a turn; the first is not counted
};

/// Sets peers and bytes to all that a complete comparison takes, and fewer turns.
void make_sweep(BenchAllReduceOptions& options);

/// For each number of peers, size and codec: runs ours with TLS, ours without, gloo, Open MPI and the bare
/// exchange of the same bytes over TCP in turns, and reports seconds, paired ratios to gloo, where the
/// processors' time goes, and how far the round is from the machine's limit. With a rate, instead: ours with
/// each codec, as processes in network namespaces. Returns the exit code.
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
