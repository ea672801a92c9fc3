// The folder of one peer: its key, its metrics, its checkpoints; used by one process at a time.
#pragma once

#include <filesystem>

#include "shoal/base/identity.h"
#include "shoal/run/definition.h"

namespace shoal::run {

class PeerFolder {
  public:
    /// Creates the folder and locks it until this object dies (or the process, however it dies).
    /// Throws Error(system) if it cannot be made, Error(bad_input) naming the process that holds it.
    explicit PeerFolder(std::filesystem::path folder);
    PeerFolder(PeerFolder&& other) noexcept;
    PeerFolder& operator=(PeerFolder&&) = delete;
    ~PeerFolder();

    const std::filesystem::path& path() const { return folder_; }
    std::filesystem::path metrics_file() const { return folder_ / "metrics.jsonl"; }
    std::filesystem::path log_file() const { return folder_ / "log.txt"; }

  private:
    std::filesystem::path folder_;
    int descriptor_ = -1;
};

}  // namespace shoal::run
