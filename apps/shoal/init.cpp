// shoal init: a commented run file to start from.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>

#include "shoal/base/error.h"
#include "shoal/command.h"
#include "shoal/run/atomic_file.h"
#include "shoal/run/definition.h"

namespace shoal::app {
namespace {

int write_template(const std::string& file) {
    if (file.empty() || file == "-") {
        std::fputs(run::definition_template().c_str(), stdout);
        return 0;
    }
    if (std::filesystem::exists(file))
        throw Error(ErrorKind::bad_input, file + " exists already; nothing was overwritten");
    const auto folder = std::filesystem::absolute(file).parent_path();
    if (!std::filesystem::is_directory(folder))
        throw Error(ErrorKind::bad_input,
                    "there is no folder " + folder.string() + " to write " + file + " to");
    run::AtomicFile out(file);
    out.write(as_bytes(run::definition_template()));
    out.commit();
    std::printf("Wrote %s. Fill in [run], [model] and [data]; then: shoal train %s\n", file.c_str(),
                file.c_str());
    return 0;
}

}  // namespace

Command init_command() {
    Command command;
    command.name = "init";
    command.summary = "Write a run file with every key, explained";
    command.declare = [](CLI::App& app) -> std::function<int()> {
        app.description(
            "Writes a run file with every key, its meaning and its default. What is commented out may stay "
            "so.\n"
            "Never overwrites a file. Without FILE, prints it.");
        auto file = std::make_shared<std::string>();
        app.add_option("FILE", *file, "Where to write; '-' or nothing: standard output");
        return [file] { return write_template(*file); };
    };
    return command;
}

}  // namespace shoal::app
