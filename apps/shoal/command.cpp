#include "shoal/command.h"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>

#include "shoal/base/error.h"
#include "shoal/run/version.h"

namespace shoal::app {
namespace {

constexpr const char* kDescription =
    "Shoal trains one model on many machines that come and go.\n"
    "\n"
    "A run is one TOML file that all its peers have. Start with:\n"
    "  shoal init my_run.toml                                  write a commented run file\n"
    "  shoal train my_run.toml --name first --port 31337       the first peer\n"
    "  shoal train my_run.toml --bootstrap HOST:31337          any other one, anywhere\n"
    "  shoal status my_run.toml --bootstrap HOST:31337         watch the run from outside\n"
    "  shoal doctor my_run.toml --bootstrap HOST:31337         what is wrong with this machine?";

constexpr const char* kFooter =
    "Every sub-command has a --help of its own. Exit codes: 0 all is well, 1 failure, 2 bad input.";

int print_error(const std::string& text, int code) {
    std::fprintf(stderr, "shoal: error: %s\n", text.c_str());
    return code;
}

int exit_code(ErrorKind kind) {
    return kind == ErrorKind::bad_input || kind == ErrorKind::invalid_argument ? kBadInput : kFailure;
}

int run_guarded(const std::function<int()>& work) {
    try {
        return work();
    } catch (const Error& error) {
        return print_error(error.what(), exit_code(error.kind()));
    } catch (const std::exception& error) {
        return print_error(std::string("unexpected: ") + error.what() + ". This is a bug; please report it",
                           kFailure);
    }
}

/// The deepest sub-command that was named, to point at its help.
const CLI::App* deepest(const CLI::App* app) {
    while (!app->get_subcommands().empty()) app = app->get_subcommands().front();
    return app;
}

std::string full_name(const CLI::App* app) {
    return app->get_parent() ? full_name(app->get_parent()) + " " + app->get_name() : "shoal";
}

}  // namespace

struct LogOptions::Values {
    bool verbose = false;
    std::string level;
};

LogOptions::LogOptions(CLI::App& app) : values_(std::make_shared<Values>()) {
    app.add_flag("-v,--verbose", values_->verbose, "Say what is going on, on standard error");
    app.add_option("--log-level", values_->level, "debug, info, warning, error or off; wins over --verbose");
}

Log LogOptions::log(const std::string& name, LogLevel usual) const {
    LogLevel level = values_->verbose ? std::min(usual, LogLevel::info) : usual;
    if (!values_->level.empty()) level = log_level_from(values_->level);
    return Log::to_stderr(name, level);
}

int run_program(int argc, char** argv, const std::vector<Command>& commands,
                const std::vector<Command>& elsewhere) {
    CLI::App app(kDescription, "shoal");
    app.footer(kFooter);
    app.set_version_flag("--version", std::string("shoal ") + run::kVersion);
    app.require_subcommand(1);
    app.get_formatter()->column_width(34);
    app.failure_message([](const CLI::App*, const CLI::Error&) { return std::string(); });

    std::function<int()> chosen;
    const auto add = [&](const Command& command) {
        CLI::App* sub = app.add_subcommand(command.name, command.summary);
        const std::function<int()> work = command.declare ? command.declare(*sub) : std::function<int()>();
        sub->callback([&chosen, work] { chosen = work; });
    };
    for (const Command& command : commands) add(command);
    for (const Command& command : elsewhere) add(command);

    try {
        app.parse(argc, argv);
    } catch (const CLI::Success& help) {
        return app.exit(help);
    } catch (const CLI::ParseError& error) {
        const CLI::App* where = deepest(&app);
        return print_error(std::string(error.what()) + "\nTry `" + full_name(where) + " --help`.", kBadInput);
    } catch (const Error& error) {
        return print_error(error.what(), exit_code(error.kind()));
    }
    return chosen ? run_guarded(chosen) : kBadInput;
}

}  // namespace shoal::app
