// shoal replica: one process of the experiments whose peers sleep in place of computing (shoal lab churn,
// elasticity, volunteers).
#include "shoal/sim/replica.h"

#include <CLI/CLI.hpp>

#include "shoal/command.h"
#include "shoal/run_options.h"

namespace shoal::app {

Command replica_command() {
    Command command;
    command.name = "replica";
    command.summary = "One peer of an experiment: a real one, but it sleeps in place of computing";
    command.declare = [](CLI::App& app) -> std::function<int()> {
        app.group("");  // not in the help: `shoal lab` starts it
        const RunOptions options(app, RunOptions::File::required,
                                 {"run", "averaging", "network", "peer", "checkpoints"});
        const LogOptions log(app);
        auto settings = std::make_shared<sim::ReplicaSettings>();
        app.add_option("--speed", settings->speed, "Samples per second")->check(CLI::Range(0.001, 1e6));
        app.add_option("--micro-batch", settings->micro_batch, "Samples")->check(CLI::Range(1, 1000000));
        app.add_option("--jitter", settings->jitter, "Of a micro-batch's time")->check(CLI::Range(0.0, 0.9));
        app.add_option("--parameters", settings->parameters)->check(CLI::Range(1, 100000000));
        app.add_option("--rate", settings->rate, "Learning rate")->check(CLI::Range(0.0, 1.0));
        app.add_option("--seed", settings->seed, "Of the jitter; 0: from entropy");
        return [options, log, settings] {
            settings->log = log.log("replica");
            sim::run_replica(options.load(run::Purpose::training), *settings);
            return 0;
        };
    };
    return command;
}

}  // namespace shoal::app
