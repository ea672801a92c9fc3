// `shoal bench dht`: how long the directory takes to publish, read and push, and how often it succeeds, also
// with nodes killed.
#pragma once

#include "shoal/run/result.h"

namespace shoal::lab {

struct BenchDhtOptions {
    run::ResultOptions result;
    int nodes = 32;
    int operations = 200;  ///< of each kind
    double killed = 0.1;   ///< share of the nodes that is lost for the second and the third phase
};

/// Runs real directory nodes with UDP sockets on loopback, all in this process on one thread, so the figures
/// hold the work of all of them: with all alive, with some killed (the system says that their ports are
/// closed), and with some gone without a trace. Returns the exit code.
int bench_dht(const BenchDhtOptions& options);

}  // namespace shoal::lab
