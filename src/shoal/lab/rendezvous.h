// How the processes of one experiment on one machine find each other: each leaves a word in a common folder.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "shoal/base/async.h"
#include "shoal/base/clock.h"

namespace shoal::lab {

/// Leaves this process's word (one line) and waits for those of the others; returns all, by rank.
/// Throws Error(timed_out) if one does not come within a minute.
awaitable<std::vector<std::string>> meet(Clock& clock, std::filesystem::path folder, int rank, int size,
                                         std::string word);

}  // namespace shoal::lab
