// shoal report: what a run was, from its peers' records.
#include <CLI/CLI.hpp>
#include <cstdio>

#include "shoal/base/bytes.h"
#include "shoal/command.h"
#include "shoal/run/atomic_file.h"
#include "shoal/run/run_report.h"

namespace shoal::app {
namespace {

struct ReportOptions {
    std::vector<std::filesystem::path> folders, against;
    std::vector<std::string> prices;
    double traffic_price = -1, away_seconds = run::kAwaySeconds;
    std::filesystem::path json, plot;
};

run::RunReport read(const ReportOptions& options, const std::vector<std::filesystem::path>& folders) {
    run::RunReport report = run::read_run_report(folders, options.away_seconds);
    report.traffic_priced = options.traffic_price >= 0;
    if (report.traffic_priced) report.dollars_per_gigabyte = options.traffic_price;
    return report;
}

int report(const ReportOptions& options) {
    std::vector<run::Price> prices;
    for (const std::string& text : options.prices) prices.push_back(run::parse_price(text));
    run::RunReport own = read(options, options.folders), other;
    std::vector<run::RunReport*> all = {&own};
    if (!options.against.empty()) {
        other = read(options, options.against);
        all.push_back(&other);
    }
    run::set_prices(all, prices);
    for (const run::RunReport* one : all)
        for (const std::string& warning : one->warnings)
            std::fprintf(stderr, "shoal: warning: %s\n", warning.c_str());
    const run::RunReport* against = options.against.empty() ? nullptr : &other;
    std::fputs(run::to_table(own, against).c_str(), stdout);
    std::fflush(stdout);
    if (!options.json.empty()) {
        using nlohmann::ordered_json;
        const ordered_json whole = run::to_json(own, against);
        const std::string text = whole.dump(2, ' ', false, ordered_json::error_handler_t::replace) + "\n";
        run::AtomicFile file(options.json);
        file.write(as_bytes(text));
        file.commit();
    }
    if (!options.plot.empty()) run::draw(run::picture_of(own, against), options.plot);
    return 0;
}

}  // namespace

Command report_command() {
    Command command;
    command.name = "report";
    command.summary = "Tell what a run was from the records of its peers";
    command.declare = [](CLI::App& app) -> std::function<int()> {
        app.description(
            "Reads the records (metrics.jsonl) that peers wrote into their folders, and shows who took "
            "part.\n"
            "Gather the folders of all peers below one; of a peer whose folder is missing there is only what "
            "the\n"
            "others tell. Of each participant:\n"
            "  sessions  how often it came; one ends with its process, or with a long silence (--away)\n"
            "  batches, samples  micro-batches and samples that it computed\n"
            "  counted   of those samples, what stands behind steps of the run; share: of everybody's\n"
            "  sent, received  payload of averaging rounds, and state for newcomers; a step: both, by its "
            "steps\n"
            "  failures  rounds that failed and other trouble, by cause below the table\n"
            "and of the whole run: time, steps, loss, speed, traffic, and the cost by your prices. Records "
            "that\n"
            "are damaged or foreign are skipped with a warning that names file and line.\n"
            "Example, a swarm beside one fast machine that did the same steps:\n"
            "  shoal report swarm/ --against fast/ --price 'fast=2.50' --price 'home-*=0.05' --traffic-price "
            "0.09");
        auto options = std::make_shared<ReportOptions>();
        app.add_option("FOLDER", options->folders, "Folders of peers, or folders above them")->required();
        app.add_option("--price", options->prices,
                       "NAME_PATTERN=DOLLARS_PER_HOUR of time online; repeatable, the first that matches a "
                       "name counts (default: 0)")
            ->allow_extra_args(false);
        app.add_option("--traffic-price", options->traffic_price, "Dollars for 10^9 bytes sent (default: 0)")
            ->check(CLI::Range(0.0, 1e6));
        app.add_option("--against", options->against,
                       "Folder of a second run, shown beside this one; repeatable")
            ->allow_extra_args(false);
        app.add_option("--away", options->away_seconds,
                       "Seconds of silence that end a session (default 600); more where a micro-batch takes "
                       "longer")
            ->check(CLI::Range(1.0, 1e9));
        app.add_option("--json", options->json, "Write the report to this file");
        app.add_option("--plot", options->plot,
                       "Draw the participants over time into this file, .png or .svg");
        return [options] { return report(*options); };
    };
    return command;
}

}  // namespace shoal::app
