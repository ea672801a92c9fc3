// The real program `shoal`, run by tests as a child process.
#pragma once

#include <chrono>
#include <csignal>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace shoal::run {

/// Where the build put the programs.
std::filesystem::path program_folder();

/// Of a wait for a process: only a hang takes so long, however busy the machine.
inline constexpr std::chrono::seconds kPatience(300);

/// A child process with both outputs in files. Killed by the destructor if it still runs.
class Program {
  public:
    /// Starts it in `folder`, where its outputs go, too.
    Program(const std::filesystem::path& program, const std::vector<std::string>& arguments,
            const std::filesystem::path& folder);
    ~Program();
    Program(const Program&) = delete;
    Program& operator=(const Program&) = delete;

    int process_id() const { return process_; }
    void signal(int number) const;
    /// Waits for its end; when the patience is over it is killed and the test fails. Returns the exit code,
    /// or 1000 + the signal that ended it.
    int wait(std::chrono::seconds patience = kPatience);
    /// Waits until its standard output has a line that contains the text, and returns that line. Fails the
    /// test if it ends before that, or when the patience is over.
    std::string line_with(const std::string& text) { return line_with(text, out_); }
    /// The same of its standard error.
    std::string error_with(const std::string& text) { return line_with(text, err_); }
    std::string output() const;
    std::string errors() const;
    /// Waits until its standard output is as wanted; likewise.
    void wait_for(const std::function<bool(const std::string& output)>& wanted, const std::string& what);

  private:
    struct Descriptor;
    bool ended();
    std::string line_with(const std::string& text, const std::filesystem::path& file);
    void wait_for(const std::function<bool(const std::string& text)>& wanted, const std::string& what,
                  const std::filesystem::path& file);
    void until_news(const Descriptor& watching, std::chrono::steady_clock::time_point deadline) const;
    int process_ = -1, status_ = 0;
    bool waited_ = false;
    std::filesystem::path out_, err_;
};

struct Ended {
    int code = 0;
    std::string output, errors;
};

/// Runs `shoal` to its end.
Ended shoal(const std::vector<std::string>& arguments, const std::filesystem::path& folder);

}  // namespace shoal::run
