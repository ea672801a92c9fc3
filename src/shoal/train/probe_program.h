// `shoal probe`: a linear probe of a run's model, from its checkpoint and as it was made.
#pragma once

#include <filesystem>
#include <functional>

#include "shoal/base/units.h"
#include "shoal/run/definition.h"
#include "shoal/run/result.h"
#include "shoal/train/linear_probe.h"

namespace shoal::train {

struct ProbeProgramOptions {
    std::filesystem::path checkpoints;  ///< folder of checkpoints; empty: the run's own
    ProbeSettings probe;
    std::function<void(double)> progress;  ///< told the share of one model's features that are computed
    bool random = true;  ///< also probes the model with the parameters it began with, for comparison
    run::ResultOptions result;
};

struct ProbeReport {
    Step step{};  ///< of the checkpoint
    ProbeResult trained;
    ProbeResult random;  ///< all zeros unless asked for
};

/// Throws Error(bad_input) if there is no checkpoint, or it is another run's or model's;
/// Error(invalid_argument) if the model's kind has no features (resnet and swav have).
ProbeReport probe_checkpoint(const run::RunDefinition& definition, const ProbeProgramOptions& options);

/// Does that, prints a line for each, writes the JSON file where one is asked for. Returns the exit code.
int run_probe(const run::RunDefinition& definition, const ProbeProgramOptions& options);

}  // namespace shoal::train
