// `shoal lab swarm`: the main job as a person sees it. Five peer processes on this machine train one ALBERT
// on real text; midway one is killed and a fresh one joins.
#pragma once

#include <cstdint>
#include <filesystem>

#include "shoal/run/result.h"

namespace shoal::lab {

struct SwarmOptions {
    run::ResultOptions result;
    std::filesystem::path folder =
        "shoal-swarm";  ///< of everything that the swarm writes; emptied of an earlier swarm's peers first
    std::filesystem::path text;  ///< plain English text to train on
    std::int64_t steps = 150;
    std::int64_t target_batch_size = 256;
    std::int64_t warmup_steps = 20;
    bool redraw = true;  ///< false: plain lines instead of a table
};

/// What --quick means: 40 steps of 64 samples, about half a minute on two cores.
void make_quick(SwarmOptions& options);

/// Runs the swarm to its end, showing it live, and prints a summary. Returns the exit code: 0 if every
/// surviving peer ended at the last step with the same parameters, the newcomer contributed, and (with
/// --check) all demands are met. SIGINT, SIGTERM or SIGHUP end it early: the peers say goodbye, summary and
/// files tell of what was, and the exit code is 1.
int run_swarm(const SwarmOptions& options);

}  // namespace shoal::lab
