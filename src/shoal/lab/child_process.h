// Real processes for experiments: started, watched, frozen and killed.
#pragma once

#include <chrono>
#include <filesystem>
#include <optional>
#include <string>
#include <sys/types.h>
#include <vector>

namespace shoal::lab {

/// How a process ended.
struct ExitStatus {
    bool signalled = false;
    int code = 0;  ///< exit code, or the signal's number
    std::string to_string() const;
};

/// One child. It dies with its parent (Linux: parent-death signal), so that no experiment leaves peers
/// behind. Not thread-safe.
class ChildProcess {
  public:
    /// Starts a program.
    /// @param arguments  the program's path first.
    /// @param output     file that receives standard output and standard error, truncated first.
    /// @param niceness   0 to 19: how readily it yields the processor to others.
    /// Throws Error(system) if it cannot be started.
    ChildProcess(const std::vector<std::string>& arguments, const std::filesystem::path& output,
                 int niceness = 0);
    /// Kills the child if it still runs, and reaps it.
    ~ChildProcess();
    ChildProcess(ChildProcess&& other) noexcept;
    ChildProcess& operator=(ChildProcess&& other) noexcept;

    pid_t pid() const { return pid_; }
    /// Sends a signal; ignored when the child has ended.
    void signal(int number);
    /// The status if the child has ended; does not wait.
    std::optional<ExitStatus> poll();
    /// Blocks until the child has ended.
    ExitStatus wait();
    /// Blocks until the child has ended (true) or the deadline has passed (false).
    bool wait_until(std::chrono::steady_clock::time_point deadline);

  private:
    pid_t pid_ = -1;
    std::optional<ExitStatus> status_;
};

/// The child that ended a group, and how; no status if the group's time was over.
struct GroupFailure {
    std::size_t child = 0;
    std::optional<ExitStatus> status;
};

/// Blocks until all children have ended with exit code 0. At the first one that ends otherwise, or when the
/// limit is over, kills those that still run and returns who it was (of those that still ran: the first).
std::optional<GroupFailure> wait_for_all(std::vector<ChildProcess>& children,
                                         std::chrono::milliseconds limit);

/// The path of the running program's own file.
std::filesystem::path own_program();

/// Reads complete lines that were appended to a file since the last call; a file that does not exist yet has
/// none.
class LineTail {
  public:
    /// @param from  bytes at the beginning that are passed over.
    explicit LineTail(std::filesystem::path file, std::streamoff from = 0)
        : file_(std::move(file)), offset_(from) {}
    std::vector<std::string> new_lines();

  private:
    std::filesystem::path file_;
    std::streamoff offset_;
    std::string partial_;
};

}  // namespace shoal::lab
