// Many seeds of the fault explorer, side by side.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "shoal/sim/explorer.h"

namespace shoal::sim {

struct ExplorationTotal {
    std::uint64_t seeds = 0;
    std::uint64_t peers = 0, faults = 0, rounds_averaged = 0, rounds_failed = 0, comparisons = 0;
    std::uint64_t one_history_checked = 0;  ///< seeds
    double virtual_seconds = 0;
    std::map<std::string, int> faults_by_kind;
    std::vector<std::uint64_t> failing;  ///< seeds, ascending
    std::string last_log;                ///< of the seed that ended last
};

/// Explores `count` seeds from `first` on, in `threads` threads. `on_seed` is called after each, one at a
/// time, in the order in which they end, from any of the threads.
ExplorationTotal explore_many(std::uint64_t first, std::uint64_t count, unsigned threads,
                              const std::function<void(std::uint64_t done, const Exploration&)>& on_seed = {},
                              const ExplorerSettings& settings = {});

}  // namespace shoal::sim
