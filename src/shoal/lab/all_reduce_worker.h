// One process of `shoal bench allreduce` and `shoal bench round`: a peer that averages the same vector again
// and again.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>

namespace shoal::lab {

struct AllReduceWorkerOptions {
    int rank = 0, size = 1;
    std::filesystem::path folder;  ///< where the workers of one run leave their addresses
    std::size_t elements = 0;
    int rounds = 1;
    std::string codec = "fp32";
    bool encrypted = true;
    bool pure_transfer =
        false;  ///< also measures the exchange of the same bytes without matching, adding and voting
};

/// Runs the worker: prints one line a round, with the columns that all_reduce_contestants.cpp names. Throws
/// Error where a round does not end with 'averaged', or where its result is wrong.
void run_all_reduce_worker(const AllReduceWorkerOptions& options);

}  // namespace shoal::lab
