// One training peer, put together from a run file: model, data, optimizer, checkpoints and the swarm.
#pragma once

#include <filesystem>

#include "shoal/base/log.h"
#include "shoal/run/definition.h"

namespace shoal::train {

struct TrainingProgramOptions {
    Log log;
    std::filesystem::path
        inject;  ///< for fault tests: a file that orders faults (fault_injection.h); empty: none
};

/// Starts or joins the run and trains until its last step, or until SIGINT or SIGTERM, and then writes a
/// checkpoint. Resumes from the newest checkpoint of the peer's folder. Prints a line a step. Returns the
/// exit code 0; throws Error for what the user can mend (files, ports, a damaged checkpoint, a folder that no
/// checkpoint can be written to), also if the last checkpoint could not be written.
int run_training(const run::RunDefinition& definition, const TrainingProgramOptions& options);

/// Builds model and data as run_training() would and computes one micro-batch; throws what a training peer
/// would end with. Touches neither folder nor network.
void examine_model(const run::RunDefinition& definition);

}  // namespace shoal::train
