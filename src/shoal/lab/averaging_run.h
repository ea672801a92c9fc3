// One set-up of `shoal lab averaging` as real processes.
#pragma once

#include <functional>
#include <optional>

#include "shoal/lab/averaging_setups.h"

namespace shoal::lab {

/// Told now and then; true ends the set-up early. @param rounds  that all peers have ended
using RoundsProgress = std::function<bool(std::size_t rounds)>;

/// Runs a process for each peer, in a namespace of its own, until their last round. By round, the slowest
/// peer's times; nothing if it was ended early. Throws Error(system) with what a process said when it failed.
std::optional<std::vector<RoundTimes>> run_rounds(const AveragingTask& task, const RoundsProgress& progress);

}  // namespace shoal::lab
