// `shoal lab saddle`: three saddle points, or a user's own, by the methods that are made for them.
#pragma once

#include <filesystem>
#include <string>

#include "shoal/run/result.h"

namespace shoal::lab {

struct SaddleOptions {
    run::ResultOptions result;
    std::string problem = "game";  ///< game, regression, burglar, or a TorchScript file (nn/script_saddle.h)
    std::filesystem::path data;    ///< of the regression; saddle_problems.h
    std::uint64_t seed = 1;        ///< of the problem
    bool processes = false;        ///< each device is a process, too
};

/// Prints a table. Returns the exit code. Throws Error(bad_input) for data that cannot be read.
int run_saddle(const SaddleOptions& options);

}  // namespace shoal::lab
