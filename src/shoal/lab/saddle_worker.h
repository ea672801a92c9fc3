// One process of `shoal lab bilinear --processes` and `shoal lab saddle --processes`: one device.
#pragma once

#include <filesystem>

namespace shoal::lab {

struct SaddleWorkerOptions {
    std::size_t rank = 0;
    std::filesystem::path folder;  ///< with task.json (saddle_processes.h); where the processes meet
};

/// Takes part in all rows and prints a line for each: "row ITERATIONS FINGERPRINT PAYLOAD WIRE SECONDS"; and
/// now and then "at ITERATION". Throws Error where another process is lost.
void run_saddle_worker(const SaddleWorkerOptions& options);

}  // namespace shoal::lab
