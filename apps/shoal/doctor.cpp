// shoal doctor: what is wrong with this machine?
#include "shoal/run/doctor.h"

#include <CLI/CLI.hpp>
#include <cstdio>

#include "shoal/command.h"
#include "shoal/examine_model.h"
#include "shoal/run_options.h"

namespace shoal::app {
namespace {

int examine(const RunOptions& options, const LogOptions& log, bool json) {
    const auto [definition, about_file] = run::examine_run_file(options.file(), options.overrides());
    std::vector<run::Finding> findings =
        run::judge_machine(run::look_at_machine(definition.peer_folder()), definition);
    const std::vector<run::Finding> about_folder = {run::judge_folder(definition.peer_folder())};
    const std::vector<run::Finding> about_data =
        options.file().empty() ? std::vector<run::Finding>() : run::judge_files(definition);
    // A model of one's own is tried where all that can be seen without libtorch is in order.
    std::vector<run::Finding> about_model;
    if (definition.model.kind == "torchscript" && !options.file().empty() &&
        !run::something_is_wrong(about_file) && !run::something_is_wrong(about_data))
        about_model.push_back(examine_model(options.file(), options.overrides()));
    for (const auto& more : {about_folder, about_file, about_data, about_model,
                             run::try_network(definition, log.log("doctor", LogLevel::error))})
        findings.insert(findings.end(), more.begin(), more.end());
    std::fputs((json ? run::to_json(findings) + "\n" : run::to_text(findings)).c_str(), stdout);
    return run::something_is_wrong(findings) ? kFailure : 0;
}

}  // namespace

Command doctor_command() {
    Command command;
    command.name = "doctor";
    command.summary = "Say what is wrong with this machine, its ports, clock and network";
    command.declare = [](CLI::App& app) -> std::function<int()> {
        app.description(
            "Examines this machine and tells in plain words what would go wrong, and what to do about it:\n"
            "cores, memory, open files, the variant of OpenBLAS, disk; whether the peer's folder can be "
            "written\n"
            "and is free; the run file, as `shoal train` would read it, every problem with its line; whether "
            "its\n"
            "data, vocabulary and model files are there and look like what they should be; whether a "
            "TorchScript\n"
            "model computes a micro-batch (the contents of data and vocabulary are not read: only `shoal "
            "train` "
            "does); whether the port is\n"
            "free for TCP and UDP; each bootstrap address with the cause if it does not answer; and, with "
            "the\n"
            "help of the peers that do, the clock, the bandwidth, and whether this machine can be reached "
            "from\n"
            "outside. Exit code 1 if something is wrong. Works without a run file, too.\n"
            "Example: shoal doctor run.toml --port 31337 --bootstrap host:31337");
        const RunOptions options(app, RunOptions::File::optional, {"run", "network", "peer", "data"});
        const LogOptions log(app);
        auto json = std::make_shared<bool>(false);
        app.add_flag("--json", *json, "Print the findings as one JSON object");
        return [options, log, json] { return examine(options, log, *json); };
    };
    return command;
}

}  // namespace shoal::app
