// The limit of `shoal bench allreduce`: processes that move the bytes of an all-reduce over bare TCP, and do
// nothing with them.
#pragma once

#include <cstddef>
#include <filesystem>

namespace shoal::lab {

struct BareExchangeOptions {
    int rank = 0, size = 1;
    std::filesystem::path folder;  ///< where the processes leave their ports
    std::size_t bytes = 0;         ///< of the vector: each process sends 2 / size of them to every other one
    int rounds = 1;
};

/// Prints a line a round: its seconds and its processor seconds. Throws Error(timed_out) if another process
/// does not come, and std::system_error if a connection breaks.
void run_bare_exchange(const BareExchangeOptions& options);

}  // namespace shoal::lab
