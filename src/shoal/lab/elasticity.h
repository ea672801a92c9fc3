// `shoal lab elasticity`: peers come and go, and steps a second follow the sum of the speeds of those that
// are there, while the loss of a step stays that of a swarm in which nobody comes or goes. DeDLOC, notes 5.2
// and 6.2 (TIME-VARYING).
#pragma once

#include <filesystem>

#include "shoal/run/result.h"

namespace shoal::lab {

struct ElasticityOptions {
    run::ResultOptions result;
    std::filesystem::path folder = "shoal-elasticity";  ///< of everything that the peers write
    double window = 50;       ///< seconds that a membership lasts once all that come have contributed
    double step_seconds = 4;  ///< that a batch takes when all are there
};

/// A shorter run of the same kind: fewer changes, shorter windows.
void make_quick(ElasticityOptions& options);

/// Four steady and four part-time peers of different speeds, each a process in a network namespace of its
/// own; the part-time ones come and go as elasticity_schedule() says. Beside them, on machines of their own,
/// the same eight peers for all of the time. Whole peers, but for their compute, which sleeps
/// (sim/replica.h). Prints a row for each window of constant membership. Returns the exit code.
int run_elasticity(const ElasticityOptions& options);

}  // namespace shoal::lab
