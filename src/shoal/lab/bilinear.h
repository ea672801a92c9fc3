// `shoal lab bilinear`: the experiment of the MASHA paper on a bilinear saddle point.
#pragma once

#include "shoal/run/result.h"

namespace shoal::lab {

struct BilinearOptions {
    run::ResultOptions result;
    std::uint64_t seed = 1;  ///< of the problem
    bool processes = false;  ///< each device is a process, too
};

/// Prints a table of all methods; with `processes` runs the main ones again as processes that exchange their
/// messages over loopback, and compares the bits. Returns the exit code.
int run_bilinear(const BilinearOptions& options);

}  // namespace shoal::lab
