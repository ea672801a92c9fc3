// shoal seed: a peer that trains nothing: others meet there, and it may add up their gradients.
#include <CLI/CLI.hpp>
#include <cstdio>

#include "shoal/command.h"
#include "shoal/run/node.h"
#include "shoal/run_options.h"

namespace shoal::app {
namespace {

void say_where(run::Node& node) {
    std::printf("peer %s (%s) listens on port %u, TCP and UDP\n", node.name().c_str(),
                node.id().hex().c_str(), node.port());
    for (const net::Endpoint& one : run::local_endpoints(node.definition().network.listen_host, node.port()))
        std::printf("others join with: --bootstrap %s\n", one.to_string().c_str());
    if (node.metrics_port() != 0)
        std::printf("metrics: http://%s:%u/metrics\n", node.definition().peer.metrics_host.c_str(),
                    node.metrics_port());
    std::fflush(stdout);
}

awaitable<void> stay(run::Node& node) {
    say_where(node);
    co_await node.bootstrap().until_met();  // throws if all of them refuse this peer
    co_await node.clock().sleep_until(TimePoint::never());
}

awaitable<void> help_averaging(run::Node& node) {
    say_where(node);
    const auto peer = collective::make_training_peer(node.network(), node.clock(), node.averager(),
                                                     node.progress(), nullptr, node.transfer_settings(),
                                                     node.training_settings(), node.metrics(), node.log());
    const Step start{};
    co_await peer->run(start);
}

int seed(const RunOptions& options, const LogOptions& log, bool auxiliary) {
    run::NodeOptions node_options;
    node_options.purpose = auxiliary ? run::Purpose::averaging : run::Purpose::meeting;
    node_options.of_one_run = !auxiliary && !options.file().empty();
    node_options.log = log.log("seed", LogLevel::info);
    // A run file has to be whole for its settings to be compared.
    const auto must_hold = node_options.of_one_run ? run::Purpose::averaging : node_options.purpose;
    run::Node node(options.load(must_hold), node_options);
    node.run(auxiliary ? help_averaging : stay);
    return 0;
}

}  // namespace

Command seed_command() {
    Command command;
    command.name = "seed";
    command.summary = "Run a peer that others meet at (and that may help averaging)";
    command.declare = [](CLI::App& app) -> std::function<int()> {
        app.description(
            "Runs a peer that computes nothing. Others name it as --bootstrap address and find each other "
            "there.\n"
            "It needs little of a machine, but one that can be reached: its port open for TCP and UDP.\n"
            "\n"
            "  shoal seed --port 31337                        a meeting point of any run\n"
            "  shoal seed run.toml --port 31337               of this run only: refuses peers whose settings "
            "differ\n"
            "  shoal seed run.toml --auxiliary --port 31337   also adds up gradients for the others of this "
            "run\n"
            "\n"
            "Without a run file settings are compared only among those who train; --run NAME then says for "
            "which run\n"
            "`shoal status` shows this peer's view. A run file needs no data here, but the vocabulary or the "
            "model's\n"
            "file, or their SHA-256 in it.\n"
            "\n"
            "Any peer that can be reached may serve as a bootstrap address; none is a single point of "
            "failure.");
        const RunOptions options(app, RunOptions::File::optional, {"run", "averaging", "network", "peer"});
        const LogOptions log(app);
        auto auxiliary = std::make_shared<bool>(false);
        app.add_flag("--auxiliary", *auxiliary,
                     "Take part in the averaging of this run (needs the run file)");
        return [options, log, auxiliary] { return seed(options, log, *auxiliary); };
    };
    return command;
}

}  // namespace shoal::app
