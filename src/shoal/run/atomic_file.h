// A file that appears whole or not at all.
#pragma once

#include <filesystem>

#include "shoal/base/bytes.h"

namespace shoal::run {

/// Writes to a temporary file beside the target. commit() flushes it to the disk and renames it over the
/// target; without commit() the destructor removes it, and the target stays as it was.
class AtomicFile {
  public:
    /// Creates missing folders. Throws Error(system) if the temporary file cannot be made.
    explicit AtomicFile(std::filesystem::path target);
    ~AtomicFile();
    AtomicFile(const AtomicFile&) = delete;
    AtomicFile& operator=(const AtomicFile&) = delete;

    /// Throws Error(system) naming the target: disk full, for example.
    void write(ByteView bytes);
    /// Brings everything to the disk, so that little can fail in commit(). Throws Error(system), too.
    void flush();
    void commit();

    /// Removes what processes of this machine that were killed while they wrote have left in the folder.
    /// Returns the number of files; what cannot be removed stays.
    static int remove_abandoned(const std::filesystem::path& folder);

  private:
    [[noreturn]] void fail(const char* what) const;

    std::filesystem::path target_, temporary_;
    int descriptor_ = -1;
};

}  // namespace shoal::run
