// `shoal lab swav`: what three unequal peers learn from images without labels, against one process and
// against random features.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "shoal/run/result.h"

namespace shoal::lab {

struct SwavOptions {
    run::ResultOptions result;
    std::filesystem::path folder = "shoal-swav";  ///< of everything that the peers write
    std::filesystem::path images;  ///< IDX files; empty: where Debian's dataset-fashion-mnist puts them
    std::int64_t steps = 600;      ///< of each of the two runs
    std::int64_t target_batch_size = 256;
    std::int64_t micro_batch_size = 64;
    std::int64_t seed = 1;
    std::vector<std::string> settings;  ///< "section.key=value" for the three peers, not for the one
};

/// Smaller: ends within about a minute, shows that all works, and says little about accuracy.
void make_quick(SwavOptions& options);

/// Trains the same run twice with real processes, by three peers that compute all, 60 % and 30 % of the time
/// and average delayed, and by one peer; probes both and the random parameters that they began with. Prints a
/// line for each and progress meanwhile. Returns the exit code.
int run_swav(const SwavOptions& options);

}  // namespace shoal::lab
