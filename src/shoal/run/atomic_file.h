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

  private:
    [[noreturn]] void fail(const char* what) const;

    std::filesystem::path target_, temporary_;
    int descriptor_ = -1;
};

}  // namespace shoal::run
