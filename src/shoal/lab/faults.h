// `shoal lab faults`: six real peer processes, and every fault in every phase of a step, one after the other.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "shoal/run/result.h"

namespace shoal::lab {

struct FaultsOptions {
    run::ResultOptions result;
    std::filesystem::path folder = "shoal-faults";  ///< of everything that the peers write
    std::filesystem::path images;  ///< IDX files; empty: where Debian's dataset-fashion-mnist puts them
    std::uint64_t seed = 1;        ///< chooses the victims
};

/// Runs all episodes (--quick: one of each fault), prints a line for each, and reports seconds lost per
/// fault, seconds until a newcomer trains, and whether all peers that reached a step held the same
/// parameters. Returns the exit code.
int run_faults(const FaultsOptions& options);

}  // namespace shoal::lab
