// A small front for logging: our headers stay free of spdlog's, and a Log is handed in, never global.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

namespace shoal {

enum class LogLevel { debug, info, warning, error, off };

/// Throws Error(invalid_argument) for a word that is no level.
LogLevel log_level_from(std::string_view word);

/// Cheap to copy. Safe from any thread. A default-constructed Log discards everything.
class Log {
  public:
    Log() = default;
    /// Writes lines "time level [name] text" to standard error, coloured on a terminal.
    static Log to_stderr(std::string name, LogLevel level);
    /// Appends to a file. Throws Error(system) if it cannot be opened.
    static Log to_file(const std::filesystem::path& file, std::string name, LogLevel level);

    void debug(std::string_view text) const { write(LogLevel::debug, text); }
    void info(std::string_view text) const { write(LogLevel::info, text); }
    void warning(std::string_view text) const { write(LogLevel::warning, text); }
    void error(std::string_view text) const { write(LogLevel::error, text); }
    void write(LogLevel level, std::string_view text) const;

  private:
    struct State;
    std::shared_ptr<State> state_;
};

}  // namespace shoal
