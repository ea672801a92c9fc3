// One process of `shoal lab averaging`: a peer on a slow line.
#pragma once

#include <string>

#include "shoal/lab/averaging_rounds.h"

namespace shoal::lab {

struct AveragingWorkerOptions {
    std::size_t rank = 0;
    int network_namespace = -1;  ///< inherited descriptor (shaped_lines.h)
    std::string task;            ///< as text_of() wrote it
};

/// An AveragingTask as a word of a command line, and back.
std::string text_of(const AveragingTask& task);
AveragingTask task_from(const std::string& text);

/// Moves into its namespace, takes part in all rounds and prints a line for each: "round WHOLE match reduce
/// vote", in seconds. Throws Error where a round fails.
void run_averaging_worker(const AveragingWorkerOptions& options);

}  // namespace shoal::lab
