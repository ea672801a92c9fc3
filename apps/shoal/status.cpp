// shoal status: a live run from outside.
#include "shoal/run/status.h"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <unistd.h>

#include "shoal/base/async.h"
#include "shoal/base/error.h"
#include "shoal/command.h"
#include "shoal/run_options.h"

namespace shoal::app {
namespace {

struct Display {
    bool json = false, watch = false;
    double patience = 10;  // seconds
};

void show(const run::SwarmReport& report, const Display& display) {
    const std::string text = display.json ? run::to_json(report) + "\n" : run::to_table(report);
    // A watched table replaces the one before, on a terminal; elsewhere an empty line parts them.
    const bool replaces = display.watch && !display.json && ::isatty(STDOUT_FILENO) == 1;
    if (replaces) std::fputs("\x1b[H\x1b[2J", stdout);
    std::fputs(text.c_str(), stdout);
    if (display.watch && !display.json && !replaces) std::fputs("\n", stdout);
    std::fflush(stdout);
}

awaitable<void> observe(run::Node& node, Display display) {
    run::SwarmObserver observer(node, node.definition().run.name);
    co_await observer.start(from_seconds(display.patience));
    show(observer.report(), display);
    while (display.watch) {
        co_await node.clock().sleep_for(std::chrono::seconds(1));
        show(observer.report(), display);
    }
    co_await observer.stop();
}

int status(const RunOptions& options, const LogOptions& log, const Display& display) {
    run::RunDefinition definition = options.load(run::Purpose::meeting);
    if (definition.network.bootstrap.empty())
        throw Error(
            ErrorKind::invalid_argument,
            "say where the run can be found: --bootstrap host:port of any of its peers that can be reached");
    run::NodeOptions node_options;
    node_options.observer = true;
    node_options.log = log.log("status", LogLevel::error);
    run::Node node(std::move(definition), node_options);
    node.run([display](run::Node& started) { return observe(started, display); });
    return 0;
}

}  // namespace

Command status_command() {
    Command command;
    command.name = "status";
    command.summary = "Show a live run from outside";
    command.declare = [](CLI::App& app) -> std::function<int()> {
        app.description(
            "Shows the peers of a live run: name, role, step, share of the batch so far, samples per second, "
            "loss,\n"
            "bytes sent and received, and whether each holds the same parameters as the others:\n"
            "  equal     the same bits as most peers of this step\n"
            "  N behind  at an earlier step, about to catch up\n"
            "  N ahead   at a later step than most: the others are about to follow\n"
            "  loading   downloading the state\n"
            "  DIFFERS   other parameters at the same step: will load the state anew\n"
            "  silent for N s  has reported nothing for longer than its micro-batches take: dead, frozen or "
            "cut "
            "off;\n"
            "            its speed does not count, and it is forgotten after half a minute\n"
            "Of a run that averages in groups it shows a sample of the peers, up to half a minute old; "
            "groups "
            "hold\n"
            "different parameters, which are not compared.\n"
            "Only looks; takes no part. Example: shoal status --bootstrap host:31337 --watch");
        const RunOptions options(app, RunOptions::File::optional, {"run", "network"});
        const LogOptions log(app);
        auto display = std::make_shared<Display>();
        app.add_flag("--json", display->json,
                     "Print one JSON object (with --watch one a second) instead of a table");
        app.add_flag("-w,--watch", display->watch, "Go on showing it, every second, until interrupted");
        app.add_option("--patience", display->patience, "Seconds to wait for an answer (default 10)")
            ->check(CLI::Range(0.1, 3600.0));
        return [options, log, display] { return status(options, log, *display); };
    };
    return command;
}

}  // namespace shoal::app
