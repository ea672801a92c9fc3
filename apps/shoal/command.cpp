#include "shoal/command.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <exception>
#include <sstream>

#include "shoal/base/error.h"
#include "shoal/run/schema.h"
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
    "  shoal doctor my_run.toml --bootstrap HOST:31337         what is wrong with this machine?\n";

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

/// Without the full stop.
std::string first_line(const std::string& text) {
    std::string line = text.substr(0, text.find('\n'));
    if (line.ends_with('.')) line.pop_back();
    return line;
}

/// The list of sub-commands shows the first line of each description only.
class Formatter : public CLI::Formatter {
  public:
    std::string make_subcommand(const CLI::App* sub) const override {
        const std::string whole = sub->get_description();
        std::stringstream out;
        CLI::detail::format_help(out, sub->get_name(), first_line(whole), get_column_width());
        return out.str();
    }
};

/// "shoal sed": CLI11 would only say that a sub-command is missing.
void refuse_unknown(const CLI::App& app, int argc, char** argv) {
    if (argc < 2 || argv[1][0] == '-') return;
    std::vector<std::string> names;
    for (const CLI::App* sub : app.get_subcommands({})) names.push_back(sub->get_name());
    if (std::find(names.begin(), names.end(), argv[1]) != names.end()) return;
    const std::string guess = run::nearest(argv[1], names);
    throw Error(ErrorKind::invalid_argument,
                "there is no sub-command '" + std::string(argv[1]) + "'" +
                    (guess.empty() ? "; `shoal --help` lists them" : " (did you mean '" + guess + "'?)"));
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

void describe(CLI::App& app, const std::string& more) {
    app.description(app.get_description() + ".\n\n" + more + "\n");
}

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
    const auto formatter = std::make_shared<Formatter>();
    formatter->column_width(34);
    app.formatter(formatter);
    app.failure_message([](const CLI::App*, const CLI::Error&) { return std::string(); });

    std::function<int()> chosen;
    const auto add = [&](const Command& command) {
        CLI::App* sub = app.add_subcommand(command.name, command.summary);
        sub->footer("");
        const std::function<int()> work = command.declare ? command.declare(*sub) : std::function<int()>();
        // The help of a sub-command begins with its line in the list.
        const std::string more = sub->get_description();
        if (more != command.summary) sub->description(command.summary + ".\n\n" + more + "\n");
        sub->callback([&chosen, work] { chosen = work; });
    };
    for (const Command& command : commands) add(command);
    for (const Command& command : elsewhere) add(command);

    try {
        refuse_unknown(app, argc, argv);
        app.parse(argc, argv);
    } catch (const CLI::Success& help) {
        return app.exit(help);
    } catch (const CLI::ExtrasError&) {
        // CLI11's own words name them from the last to the first.
        const CLI::App* where = deepest(&app);
        std::string extras;
        for (const std::string& one : app.remaining(true)) extras += (extras.empty() ? "" : " ") + one;
        return print_error("not expected: " + extras + "\nTry `" + full_name(where) + " --help`.", kBadInput);
    } catch (const CLI::ParseError& error) {
        const CLI::App* where = deepest(&app);
        return print_error(std::string(error.what()) + "\nTry `" + full_name(where) + " --help`.", kBadInput);
    } catch (const Error& error) {
        return print_error(error.what(), exit_code(error.kind()));
    }
    return chosen ? run_guarded(chosen) : kBadInput;
}

}  // namespace shoal::app
