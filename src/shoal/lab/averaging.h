// `shoal lab averaging`: how long an averaging round takes on slow and unequal lines, against theory and
// against the simulator.
#pragma once

#include <string>
#include <vector>

#include "shoal/run/result.h"

namespace shoal::lab {

struct AveragingOptions {
    run::ResultOptions result;
    int rounds = 20;                ///< counted ones of each set-up
    int simulated_rounds = 3;       ///< likewise
    std::vector<std::string> only;  ///< names of set-ups; empty: all
};

/// What --quick means: 8 peers, a quarter of the payload, 2 rounds.
void make_quick(AveragingOptions& options);

/// Runs every set-up as processes in network namespaces (shaped_lines.h) and in the simulator, and prints a
/// table. SIGINT, SIGTERM or SIGHUP end it early: table and JSON tell of what was. Returns the exit code.
/// Throws Error(system) if it may not make namespaces, if a program is missing, or a round fails.
int run_averaging(const AveragingOptions& options);

}  // namespace shoal::lab
