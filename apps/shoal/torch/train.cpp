// shoal train: start or join a run as one training peer.
#include <CLI/CLI.hpp>

#include "shoal/command.h"
#include "shoal/run_options.h"
#include "shoal/train/training_program.h"

namespace shoal::app {

Command train_command() {
    Command command;
    command.name = "train";
    command.summary = "Start or join a run as one peer that trains";
    command.declare = [](CLI::App& app) -> std::function<int()> {
        app.description(
            "Trains in the run that RUN.toml defines: starts it if nobody is there yet, else joins it and "
            "loads its state.\n"
            "Goes on from the newest checkpoint in the peer's folder. Ctrl-C says goodbye and writes a "
            "checkpoint.\n\n"
            "  shoal train run.toml --name alice\n"
            "  shoal train run.toml --client               behind a router: accept no connections\n"
            "  shoal train run.toml --set peer.load=0.5    use half of the time only");
        auto options = std::make_shared<RunOptions>(
            app, RunOptions::File::required,
            std::vector<std::string>{"run", "data", "averaging", "network", "peer", "checkpoints"});
        auto log = std::make_shared<LogOptions>(app);
        auto inject = std::make_shared<std::string>();
        app.add_option("--inject", *inject,
                       "For fault tests: obey orders such as 'kill@reduce:12' that appear in this file")
            ->group("Testing");
        auto examine = std::make_shared<bool>(false);
        app.add_flag("--examine", *examine,
                     "Build model and data, compute one micro-batch, and end (`shoal doctor` asks for it)")
            ->group("Testing");
        return [options, log, inject, examine] {
            const run::RunDefinition definition = options->load(run::Purpose::training);
            if (*examine) {
                train::examine_model(definition);
                return 0;
            }
            train::TrainingProgramOptions program;
            program.log = log->log("train");
            program.inject = *inject;
            return train::run_training(definition, program);
        };
    };
    return command;
}

}  // namespace shoal::app
