// `shoal lab churn`: many real peer processes, one fault after the other, and how much of the work is left.
#pragma once

#include <cstdint>
#include <filesystem>

#include "shoal/run/result.h"

namespace shoal::lab {

struct ChurnOptions {
    run::ResultOptions result;
    std::filesystem::path folder = "shoal-churn";  ///< of everything that the peers write
    int peers = 32;
    int faults = 62;
    double every = 29;  ///< seconds from one fault to the next
    double away = 10;   ///< seconds until a frozen or unplugged peer is back, and a killed one replaced
    double step_seconds = 10;  ///< that a batch takes when all are there
    std::uint64_t seed = 1;    ///< chooses victims and moments
};

/// A shorter run of the same kind.
void make_quick(ChurnOptions& options);

/// Starts the peers, each in a network namespace of its own; they are whole peers but for their compute,
/// which sleeps (sim/replica.h), so that one that is gone leaves nobody more processor time. Without faults
/// for as long as with them at the most, then with: kill -9 (and a fresh peer with an empty folder instead),
/// SIGSTOP and SIGCONT, the network's plug pulled and put back. Reports samples stepped a second with faults
/// against without, and whether all peers hold the same parameters at the end. Returns the exit code.
int run_churn(const ChurnOptions& options);

}  // namespace shoal::lab
