#include "shoal/base/log.h"

#include <spdlog/logger.h>
#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <utility>

#include "shoal/base/error.h"

namespace shoal {
namespace {

constexpr const char* kPattern = "%Y-%m-%d %H:%M:%S.%e %^%-7l%$ [%n] %v";

spdlog::level::level_enum to_spdlog(LogLevel level) {
    switch (level) {
        case LogLevel::debug:
            return spdlog::level::debug;
        case LogLevel::info:
            return spdlog::level::info;
        case LogLevel::warning:
            return spdlog::level::warn;
        case LogLevel::error:
            return spdlog::level::err;
        case LogLevel::off:
            break;
    }
    return spdlog::level::off;
}

}  // namespace

struct Log::State {
    State(std::string name, spdlog::sink_ptr sink, LogLevel level)
        : logger(std::move(name), std::move(sink)) {
        logger.set_pattern(kPattern);
        logger.set_level(to_spdlog(level));
        logger.flush_on(spdlog::level::trace);  // the last lines before a crash are the ones that matter
    }
    spdlog::logger logger;
};

LogLevel log_level_from(std::string_view word) {
    if (word == "debug") return LogLevel::debug;
    if (word == "info") return LogLevel::info;
    if (word == "warning") return LogLevel::warning;
    if (word == "error") return LogLevel::error;
    if (word == "off") return LogLevel::off;
    throw Error(ErrorKind::invalid_argument,
                "'" + std::string(word) + "' is no log level; use debug, info, warning, error or off");
}

Log Log::to_stderr(std::string name, LogLevel level) {
    Log log;
    log.state_ = std::make_shared<State>(std::move(name),
                                         std::make_shared<spdlog::sinks::stderr_color_sink_mt>(), level);
    return log;
}

Log Log::to_file(const std::filesystem::path& file, std::string name, LogLevel level) {
    Log log;
    try {
        auto sink = std::make_shared<spdlog::sinks::basic_file_sink_mt>(file.string());
        log.state_ = std::make_shared<State>(std::move(name), std::move(sink), level);
    } catch (const spdlog::spdlog_ex& failure) {
        throw Error(ErrorKind::system, "cannot open the log file " + file.string() + ": " + failure.what());
    }
    return log;
}

void Log::write(LogLevel level, std::string_view text) const {
    if (state_ && level != LogLevel::off) {
        state_->logger.log(to_spdlog(level), spdlog::string_view_t(text.data(), text.size()));
    }
}

}  // namespace shoal
