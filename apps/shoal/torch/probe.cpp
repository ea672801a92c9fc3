// shoal probe: how good are the features that a run has learnt?
#include <CLI/CLI.hpp>

#include "shoal/command.h"
#include "shoal/run_options.h"
#include "shoal/train/probe_program.h"

namespace shoal::app {

Command probe_command() {
    Command command;
    command.name = "probe";
    command.summary = "Test the features of a checkpoint with a linear classifier";
    command.declare = [](CLI::App& app) -> std::function<int()> {
        app.description(
            "Freezes the model of the newest checkpoint, trains a linear classifier on what it makes of the "
            "training\n"
            "images, and reports its accuracy on the held-out ones; beside it, the same for the random "
            "parameters that\n"
            "the run began with. For [model] kind swav and resnet. Takes part in no run and changes "
            "nothing.\n\n"
            "  shoal probe run.toml --checkpoint shoal-my-run/checkpoints");
        auto options = std::make_shared<RunOptions>(app, RunOptions::File::required,
                                                    std::vector<std::string>{"run", "data", "peer"});
        auto probe = std::make_shared<train::ProbeProgramOptions>();
        app.add_option("--checkpoint", probe->checkpoints,
                       "Folder of checkpoints (default: that of the run file's peer)");
        app.add_option("--samples", probe->probe.samples, "Training images to learn from; 0: all")
            ->capture_default_str()
            ->check(CLI::NonNegativeNumber);
        app.add_option("--epochs", probe->probe.epochs, "Of the classifier's training")
            ->capture_default_str()
            ->check(CLI::Range(1, 100000));
        app.add_flag("--no-random{false}", probe->random, "Leave out the random parameters");
        app.add_option("--json", probe->result.json, "Write the result to this file");
        return [options, probe] { return train::run_probe(options->load(run::Purpose::training), *probe); };
    };
    return command;
}

}  // namespace shoal::app
