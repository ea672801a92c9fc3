#include "shoal/lab/averaging.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <csignal>
#include <fmt/format.h>

#include "shoal/base/error.h"
#include "shoal/lab/averaging_run.h"
#include "shoal/lab/averaging_simulation.h"
#include "shoal/run/progress_line.h"

namespace shoal::lab {
namespace {

constexpr double kTolerance = 0.15;  ///< of times against each other
constexpr double kGain = 1.6;        ///< of load balancing over an equal split
constexpr double kStartSeconds = 5;  ///< until the processes of a set-up run, about
constexpr std::uint64_t kSeed = 1;

std::atomic<bool> interrupted = false;

/// While it lives, signals that would end the process are only noted.
class SignalNote {
  public:
    SignalNote() {
        interrupted = false;
        struct sigaction action{};
        action.sa_handler = [](int) { interrupted = true; };
        for (std::size_t i = 0; i < kSignals.size(); ++i) sigaction(kSignals[i], &action, &former_[i]);
    }
    ~SignalNote() {
        for (std::size_t i = 0; i < kSignals.size(); ++i) sigaction(kSignals[i], &former_[i], nullptr);
    }
    SignalNote(const SignalNote&) = delete;
    SignalNote& operator=(const SignalNote&) = delete;

  private:
    static constexpr std::array kSignals = {SIGINT, SIGTERM, SIGHUP};
    std::array<struct sigaction, kSignals.size()> former_{};
};

/// Mean and standard deviation of the counted rounds.
struct Spread {
    double mean = 0, deviation = 0;
};

Spread spread(const std::vector<double>& values) {
    Spread result;
    for (const double value : values) result.mean += value / static_cast<double>(values.size());
    double squares = 0;
    for (const double value : values) squares += (value - result.mean) * (value - result.mean);
    if (values.size() > 1) result.deviation = std::sqrt(squares / static_cast<double>(values.size() - 1));
    return result;
}

std::vector<double> whole(const std::vector<RoundTimes>& rounds) {
    std::vector<double> seconds;
    for (const RoundTimes& round : rounds) seconds.push_back(round.whole);
    return seconds;
}

struct Row {
    AveragingSetup setup;
    std::vector<RoundTimes> measured, simulated;  ///< without the warm-up
    Spread measured_spread, simulated_spread;
    double against_analytic() const { return measured_spread.mean / setup.analytic_seconds; }
    double against_simulated() const { return measured_spread.mean / simulated_spread.mean; }
};

std::vector<RoundTimes> counted(const std::vector<RoundTimes>& rounds, int warm_up) {
    return {rounds.begin() + warm_up, rounds.end()};
}

class Experiment {
  public:
    explicit Experiment(const AveragingOptions& options) : options_(options) {
        AveragingSize size;
        if (options.result.quick) size = {2, 4, 2, 2, size.elements / 4};
        elements_ = size.elements;
        for (AveragingSetup& setup : averaging_setups(size))
            if (is_wanted(setup.name)) setups_.push_back(std::move(setup));
        for (const AveragingSetup& setup : setups_) expected_ += expected_seconds(setup);
    }

    int run() {
        const SignalNote note;
        print_head();
        for (const AveragingSetup& setup : setups_) {
            if (!run_one(setup)) break;
            print(rows_.back());
        }
        line_.clear();
        const bool complete = rows_.size() == setups_.size();
        if (!complete) fmt::print("ended early\n");
        const int code = report(complete);
        return complete ? code : 1;
    }

  private:
    bool is_wanted(const std::string& name) const {
        const auto& only = options_.only;
        return only.empty() || std::find(only.begin(), only.end(), name) != only.end();
    }

    double expected_seconds(const AveragingSetup& setup) const {
        return kStartSeconds + (setup.warm_up + options_.rounds) * setup.analytic_seconds;
    }

    void show(const std::string& what, double seconds_done) {
        line_.show((done_ + seconds_done) / expected_, what);
    }

    bool run_one(const AveragingSetup& setup) {
        Row row;
        row.setup = setup;
        AveragingTask task = setup.task;
        task.rounds = setup.warm_up + options_.simulated_rounds;
        row.simulated =
            counted(simulate_rounds(task, kSeed, [&](double) { show(setup.title + ", simulated", 0); }),
                    setup.warm_up);
        task.rounds = setup.warm_up + options_.rounds;
        const auto measured = run_rounds(task, [&](std::size_t rounds) {
            show(fmt::format("{}, round {} of {}", setup.title,
                             std::min<int>(task.rounds, 1 + static_cast<int>(rounds)), task.rounds),
                 static_cast<double>(rounds) * setup.analytic_seconds);
            return interrupted.load();
        });
        if (!measured || interrupted) return false;
        row.measured = counted(*measured, setup.warm_up);
        row.measured_spread = spread(whole(row.measured));
        row.simulated_spread = spread(whole(row.simulated));
        rows_.push_back(std::move(row));
        done_ += expected_seconds(setup);
        return true;
    }

    void print_head() const {
        fmt::print(
            "{} B of fp16 gradients, {} rounds, seconds from 'everybody ready' to 'everybody has it':\n",
            2 * elements_, options_.rounds);
        fmt::print("{:<38} {:>15} {:>9} {:>7} {:>10} {:>7}\n", "", "measured", "analytic", "ratio",
                   "simulated", "ratio");
        std::fflush(stdout);
    }

    void print(const Row& row) {
        line_.clear();
        fmt::print("{:<38} {:>7.2f} +- {:<4.2f} {:>9.2f} {:>7.2f} {:>10.2f} {:>7.2f}\n", row.setup.title,
                   row.measured_spread.mean, row.measured_spread.deviation, row.setup.analytic_seconds,
                   row.against_analytic(), row.simulated_spread.mean, row.against_simulated());
        std::fflush(stdout);
    }

    const Row* find(const std::string& name) const {
        for (const Row& row : rows_)
            if (row.setup.name == name) return &row;
        return nullptr;
    }

    int report(bool complete) {
        run::Result result("lab averaging", options_.result);
        nlohmann::json& json = result.json();
        json["complete"] = complete;
        json["elements"] = elements_;
        json["rounds"] = options_.rounds;
        json["delivered_share_of_rate"] = kDelivered;
        json["rows"] = nlohmann::json::array();
        for (const Row& row : rows_) {
            json["rows"].push_back(json_of(row));
            const std::string of = row.setup.title + ": ";
            result.demand_at_least(of + "time over analytic time", row.against_analytic(), 1 - kTolerance);
            result.demand_at_most(of + "time over analytic time", row.against_analytic(), 1 + kTolerance);
            result.demand_at_least(of + "time over simulated time", row.against_simulated(), 1 - kTolerance);
            result.demand_at_most(of + "time over simulated time", row.against_simulated(), 1 + kTolerance);
        }
        const Row* equal = find(kEqualSplit);
        const Row* balanced = find(kLoadBalanced);
        if (equal && balanced) {
            const double gain = equal->measured_spread.mean / balanced->measured_spread.mean;
            json["gain_of_load_balancing"] = gain;
            fmt::print("load balancing is {:.2f} x as fast as an equal split\n", gain);
            result.demand_at_least("gain of load balancing over an equal split", gain, kGain);
        }
        if (!complete) result.demand("all set-ups were run", false);
        draw();
        return result.finish();
    }

    static nlohmann::json json_of(const Row& row) {
        nlohmann::json json = {{"name", row.setup.name},
                               {"title", row.setup.title},
                               {"peers", row.setup.task.peers.size()},
                               {"warm_up_rounds", row.setup.warm_up},
                               {"seconds_mean", row.measured_spread.mean},
                               {"seconds_deviation", row.measured_spread.deviation},
                               {"analytic_seconds", row.setup.analytic_seconds},
                               {"over_analytic", row.against_analytic()},
                               {"simulated_seconds", row.simulated_spread.mean},
                               {"over_simulated", row.against_simulated()}};
        for (const RoundTimes& round : row.measured) json["rounds"].push_back(json_of(round));
        for (const RoundTimes& round : row.simulated) json["simulated_rounds"].push_back(json_of(round));
        return json;
    }

    static nlohmann::json json_of(const RoundTimes& round) {
        return {{"seconds", round.whole},
                {"match_seconds", round.match},
                {"reduce_seconds", round.reduce},
                {"vote_seconds", round.vote}};
    }

    void draw() const {
        if (options_.result.plot.empty() || rows_.empty()) return;
        run::Picture picture{"Seconds of an averaging round", "set-up", "seconds", {}, {}};
        run::Curve measured{"measured", {}, {}, true}, analytic{"analytic", {}, {}, true},
            simulated{"simulated", {}, {}, true};
        for (std::size_t i = 0; i < rows_.size(); ++i) {
            const double x = static_cast<double>(i + 1);
            for (run::Curve* curve : {&measured, &analytic, &simulated}) curve->x.push_back(x);
            measured.y.push_back(rows_[i].measured_spread.mean);
            analytic.y.push_back(rows_[i].setup.analytic_seconds);
            simulated.y.push_back(rows_[i].simulated_spread.mean);
            picture.marks.push_back({x, rows_[i].setup.name});
        }
        // From 0, and with room for the last name.
        const run::Curve ground{"", {0.5, static_cast<double>(rows_.size()) + 1}, {0, 0}};
        picture.curves = {ground, measured, analytic, simulated};
        run::draw(picture, options_.result.plot);
    }

    const AveragingOptions options_;
    std::vector<AveragingSetup> setups_;
    std::vector<Row> rows_;
    std::size_t elements_ = 0;
    double expected_ = 0, done_ = 0;  ///< seconds
    run::ProgressLine line_;
};

}  // namespace

void make_quick(AveragingOptions& options) {
    options.result.quick = true;
    options.rounds = 2;
    options.simulated_rounds = 1;
}

int run_averaging(const AveragingOptions& options) {
    return Experiment(options).run();
}

}  // namespace shoal::lab
