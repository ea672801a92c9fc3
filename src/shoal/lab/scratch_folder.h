// A folder for what the processes of an experiment write, which goes away with it.
#pragma once

#include <filesystem>
#include <string>

namespace shoal::lab {

class ScratchFolder {
  public:
    /// Makes a fresh folder among the system's temporary ones, and removes those of the same purpose whose
    /// process was killed before it could.
    explicit ScratchFolder(const std::string& purpose);
    ~ScratchFolder();
    ScratchFolder(const ScratchFolder&) = delete;
    ScratchFolder& operator=(const ScratchFolder&) = delete;
    const std::filesystem::path& path() const { return path_; }

  private:
    std::filesystem::path path_;
};

}  // namespace shoal::lab
