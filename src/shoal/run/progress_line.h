// One line on a terminal that says how far long work has come and how long it still takes.
#pragma once

#include <chrono>
#include <string>
#include <string_view>

namespace shoal::run {

/// Writes to standard error, and only if that is a terminal. Not thread-safe.
class ProgressLine {
  public:
    ProgressLine();
    /// Replaces the line, at most ten times a second. @param done  share of the work, 0 to 1.
    void show(double done, std::string_view what);
    /// Removes the line, so that something else can be printed.
    void clear();
    /// Since the start of the work.
    double seconds() const;

  private:
    std::chrono::steady_clock::time_point start_, shown_{};
    bool terminal_, visible_ = false;
};

}  // namespace shoal::run
