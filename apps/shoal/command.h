// What a sub-command is, and how a program runs them: help, errors, exit codes.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "shoal/base/log.h"

namespace CLI {
class App;
}

namespace shoal::app {

/// Exit codes: what the user gave cannot be used (a flag, a file), or the work failed.
inline constexpr int kBadInput = 2;
inline constexpr int kFailure = 1;

struct Command {
    std::string name;
    std::string summary;  ///< one line of `shoal --help`
    /// Declares the options and returns what runs after they are parsed; it returns the exit code. It may
    /// throw Error: the program prints it.
    std::function<std::function<int()>(CLI::App&)> declare;
};

/// Gives a sub-command more help, behind the summary that it was added with.
void describe(CLI::App& app, const std::string& more);

/// Parses and runs. @param elsewhere  sub-commands of the other program, for the list in the help.
int run_program(int argc, char** argv, const std::vector<Command>& commands,
                const std::vector<Command>& elsewhere);

/// Adds --verbose and --log-level to a sub-command; read the result when it runs.
class LogOptions {
  public:
    explicit LogOptions(CLI::App& app);
    /// To standard error. @param usual  the level without --verbose.
    Log log(const std::string& name, LogLevel usual = LogLevel::warning) const;

  private:
    struct Values;
    std::shared_ptr<Values> values_;
};

// The sub-commands of `shoal` itself...
Command seed_command();
Command status_command();
Command report_command();
Command doctor_command();
Command init_command();
Command key_command();
Command sim_command();
Command replica_command();
// ... and of `shoal-torch`.
Command train_command();
Command probe_command();
Command lab_command();
Command bench_command();

/// Becomes shoal-torch if the first word of the command line is one of its sub-commands; returns if it is
/// not. Throws Error(system) if that program is not there.
void hand_over(int argc, char** argv);
/// The file of shoal-torch. Throws Error(system) if it is neither beside this program nor where an
/// installation puts it.
std::filesystem::path torch_program();
/// Those sub-commands, for the help.
const std::vector<Command>& handed_over();

}  // namespace shoal::app
