// shoal sim: a whole swarm in virtual time, in one process.
#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <fstream>
#include <thread>

#include "shoal/base/error.h"
#include "shoal/command.h"
#include "shoal/result_options.h"
#include "shoal/run/progress_line.h"
#include "shoal/sim/exploration_total.h"
#include "shoal/sim/scenario_report.h"

namespace shoal::app {

namespace {

struct SimOptions {
    run::ResultOptions result;
    std::string scenario, log;
    std::uint64_t seed = 1;
    std::uint64_t explore = 0;
    unsigned threads = std::max(1U, std::thread::hardware_concurrency());
    bool list = false, print = false, keys = false;
};

void write_log(const std::string& file, const std::string& text) {
    if (file.empty()) return;
    std::ofstream out(file, std::ios::binary);
    out << text;
    out.close();
    if (!out) throw Error(ErrorKind::system, "cannot write " + file);
}

int list_scenarios() {
    for (const sim::ReadyScenario& ready : sim::ready_scenarios())
        fmt::print("{:<20} {}\n", ready.name, sim::load_scenario(std::string(ready.name)).about);
    return 0;
}

int print_scenario(const std::string& name) {
    for (const sim::ReadyScenario& ready : sim::ready_scenarios())
        if (ready.name == name) {
            fmt::print("{}", ready.toml);
            return 0;
        }
    throw Error(ErrorKind::invalid_argument,
                "--print shows a ready scenario (shoal sim --list), not " + name);
}

int run_scenario(const SimOptions& options) {
    sim::Scenario scenario = sim::load_scenario(options.scenario);
    if (options.result.quick) sim::shorten(scenario);
    run::ProgressLine line;
    const auto progress = [&line](double done, double seconds, std::int64_t step) {
        line.show(done, fmt::format("{:.0f} s of virtual time, step {}", seconds, step));
    };
    const sim::ScenarioResult result = sim::run_scenario(scenario, options.seed, progress);
    line.clear();
    run::Result outcome("sim " + result.scenario, options.result);
    sim::add_to_json(scenario, result, outcome.json());
    outcome.json()["wall_seconds"] = line.seconds();
    fmt::print("{}\nsimulated in {:.1f} s\n", sim::scenario_table(scenario, result), line.seconds());
    write_log(options.log, result.log);
    if (!options.result.plot.empty()) sim::draw_scenario(scenario, result, options.result.plot);
    sim::demand_of_scenario(scenario, result, outcome);
    return outcome.finish();
}

int explore(const SimOptions& options) {
    run::ProgressLine line;
    sim::ExplorationTotal total = sim::explore_many(
        options.seed, options.explore, options.threads,
        [&](std::uint64_t done, const sim::Exploration& latest) {
            line.show(static_cast<double>(done) / static_cast<double>(options.explore),
                      fmt::format("{} seeds", done));
            if (latest.violations.empty()) return;
            line.clear();
            fmt::print("seed {} fails; replay it with: shoal sim --explore 1 --seed {} --log {}.log\n",
                       latest.seed, latest.seed, latest.seed);
            for (const std::string& violation : latest.violations) fmt::print("    {}\n", violation);
        });
    line.clear();
    if (options.explore == 1) write_log(options.log, total.last_log);
    fmt::print(
        "{} seeds in {:.1f} s: {} peers, {:.0f} s of virtual time, {} faults, {} rounds averaged and {} "
        "failed,\n"
        "{} comparisons of results; one history was asked of {} seeds; {} seeds fail\n",
        total.seeds, line.seconds(), total.peers, total.virtual_seconds, total.faults, total.rounds_averaged,
        total.rounds_failed, total.comparisons, total.one_history_checked, total.failing.size());
    run::Result outcome("sim explore", options.result);
    outcome.json()["seeds"] = total.seeds;
    outcome.json()["first_seed"] = options.seed;
    outcome.json()["failing_seeds"] = total.failing;
    outcome.json()["faults_by_kind"] = total.faults_by_kind;
    outcome.json()["comparisons"] = total.comparisons;
    outcome.json()["one_history_checked"] = total.one_history_checked;
    outcome.demand_at_most("failing seeds", static_cast<double>(total.failing.size()), 0);
    const int code = outcome.finish();
    return total.failing.empty() ? code : kFailure;
}

int run_sim(const SimOptions& options) {
    if (options.list) return list_scenarios();
    if (options.keys) {
        fmt::print("{}", sim::scenario_keys());
        return 0;
    }
    if (options.explore > 0) return explore(options);
    if (options.scenario.empty())
        throw Error(ErrorKind::invalid_argument,
                    "name a scenario (shoal sim --list), give a file, or ask for --explore N");
    return options.print ? print_scenario(options.scenario) : run_scenario(options);
}

}  // namespace

Command sim_command() {
    return {"sim", "Simulate a swarm in virtual time, or explore faults by seeds", [](CLI::App& app) {
                app.description(
                    "Runs the real protocol code of a whole swarm in one process, with virtual time, a\n"
                    "simulated network and a small problem in place of the model. A seed fixes all that\n"
                    "happens.\n\n"
                    "  shoal sim --list                       the ready scenarios\n"
                    "  shoal sim load-balanced --check        one of them\n"
                    "  shoal sim planet --plot planet.png     with pictures\n"
                    "  shoal sim planet --print >mine.toml    to begin one of your own\n"
                    "  shoal sim mine.toml --log events.log   with every event\n"
                    "  shoal sim --explore 1000               random faults, a swarm for each seed");
                auto options = std::make_shared<SimOptions>();
                add_result_options(app, options->result);
                app.add_option("scenario", options->scenario, "A ready scenario, or a TOML file");
                app.add_option("--seed", options->seed, "Of the scenario, or the first one to explore")
                    ->capture_default_str();
                app.add_option("--explore", options->explore, "Try this many seeds of random faults")
                    ->check(CLI::Range(std::uint64_t{1}, std::uint64_t{100'000'000}));
                app.add_option("--threads", options->threads, "Seeds explored at a time")
                    ->capture_default_str()
                    ->check(CLI::Range(1, 1024));
                app.add_option("--log", options->log, "Write every event to this file (of one seed)");
                app.add_flag("--list", options->list, "Show the ready scenarios");
                app.add_flag("--print", options->print, "Show the file of a ready scenario");
                app.add_flag("--keys", options->keys, "Show what a scenario file may say");
                return [options] { return run_sim(*options); };
            }};
}

}  // namespace shoal::app
