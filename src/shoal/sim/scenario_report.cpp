#include "shoal/sim/scenario_report.h"

#include <algorithm>
#include <fmt/format.h>

#include "shoal/sim/group_spread.h"

namespace shoal::sim {

namespace {

constexpr double kMegabyte = 1e6;
constexpr double kVarianceTolerance = 0.1;  ///< the formula is a mean over all partitions
constexpr double kMeasuredSteps = 0.8, kMixedPeers = 0.7;
constexpr double kProtocolOverhead = 0.15;  ///< above the ideal time of an averaging

double median_of(const std::vector<StepSummary>& steps, double StepSummary::* figure) {
    std::vector<double> values;
    for (const StepSummary& step : steps) values.push_back(step.*figure);
    if (values.empty()) return 0;
    std::sort(values.begin(), values.end());
    return values[values.size() / 2];
}

std::string span_text(double seconds) {
    if (seconds < 120) return fmt::format("{:.3g} s", seconds);
    if (seconds < 7200) return fmt::format("{:.3g} min", seconds / 60);
    return fmt::format("{:.3g} h", seconds / 3600);
}

/// Samples stepped per second in windows of the virtual time.
run::Curve throughput(const ScenarioResult& result) {
    constexpr int kWindows = 60;
    run::Curve curve{"samples stepped per second", {}, {}};
    const double width = std::max(1.0, result.virtual_seconds) / kWindows;
    std::vector<double> samples(kWindows, 0.0);
    for (const StepSummary& step : result.steps)
        samples[static_cast<std::size_t>(std::clamp(step.at / width, 0.0, kWindows - 1.0))] += step.samples;
    for (int i = 0; i < kWindows; ++i) {
        curve.x.push_back((i + 0.5) * width / 60);
        curve.y.push_back(samples[static_cast<std::size_t>(i)] / width);
    }
    return curve;
}

run::Curve running_peers(const ScenarioResult& result) {
    run::Curve curve{"running peers", {}, {}};
    std::size_t before = 0;
    for (const auto& [at, peers] : result.running) {
        for (const std::size_t count : {before, peers}) {
            curve.x.push_back(at / 60);
            curve.y.push_back(static_cast<double>(count));
        }
        before = peers;
    }
    curve.x.push_back(result.virtual_seconds / 60);
    curve.y.push_back(static_cast<double>(before));
    return curve;
}

run::Curve by_step(const ScenarioResult& result, const std::string& title, double StepSummary::* figure) {
    run::Curve curve{title, {}, {}};
    for (const StepSummary& step : result.steps) {
        curve.x.push_back(static_cast<double>(step.step));
        curve.y.push_back(step.*figure);
    }
    return curve;
}

std::filesystem::path beside(const std::filesystem::path& file, const std::string& what) {
    std::filesystem::path other = file;
    other.replace_filename(file.stem().string() + "-" + what + file.extension().string());
    return other;
}

nlohmann::json group_json(const GroupSummary& group, double steps) {
    return {{"name", group.name},
            {"peers", group.peers},
            {"peer_seconds", group.peer_seconds},
            {"samples_computed", group.samples_computed},
            {"samples_counted", group.samples_counted},
            {"bytes_sent", group.bytes_sent},
            {"bytes_received", group.bytes_received},
            {"bytes_sent_per_peer_and_step",
             group.bytes_sent / std::max(1.0, steps * static_cast<double>(group.peers))},
            {"upload_busy", group.round_seconds > 0 ? group.upload_busy / group.round_seconds : 0},
            {"download_busy", group.round_seconds > 0 ? group.download_busy / group.round_seconds : 0},
            {"bottleneck_upload_rounds", group.bottleneck_upload},
            {"bottleneck_download_rounds", group.bottleneck_download}};
}

std::string group_line(const ScenarioResult& result, const GroupSummary& group) {
    const double steps = std::max<double>(1, static_cast<double>(result.steps.size()));
    const double all_rounds = std::max<double>(1, static_cast<double>(result.rounds));
    const double peers = std::max<double>(1, static_cast<double>(group.peers));
    const double rounds = std::max(1e-9, group.round_seconds);
    return fmt::format(
        "{:<20} {:>5} {:>8.1f}% {:>9.1f} {:>9.1f} {:>8.0f}% {:>8.0f}% {:>9.0f}% {:>9.0f}%\n", group.name,
        group.peers, 100 * group.samples_counted / std::max(1.0, result.samples_counted),
        group.bytes_sent / kMegabyte / steps / peers, group.bytes_received / kMegabyte / steps / peers,
        100 * group.upload_busy / rounds, 100 * group.download_busy / rounds,
        100 * static_cast<double>(group.bottleneck_upload) / all_rounds,
        100 * static_cast<double>(group.bottleneck_download) / all_rounds);
}

/// What is left of the variance after a step, and what should be: by formula, with as many groups as there
/// were. Means over steps.
struct VarianceLeft {
    double seen = 0, expected = 0;  ///< of that among all peers that took a mean
    /// Of that among the peers whose parameters counted in one. Who comes back with old ones is far from all
    /// others, but takes and gives nothing: among all peers it would make a step look better than it was.
    double counted_seen = 0, counted_expected = 0;
    std::size_t steps = 0;
};

double share_of(double after, double before) {
    return before > 0 ? after / before : 0;
}

VarianceLeft variance_left_in(const ScenarioResult& result) {
    VarianceLeft mean;
    std::size_t most = 0;
    for (const StepSummary& step : result.steps) most = std::max(most, step.mixed_peers);
    for (const StepSummary& step : result.steps) {
        // Some of the last step's rounds were under way when the scenario ended. That this leaves enough
        // steps is demanded beside (demand_of_scenario).
        if (!(step.variance_before > 0) || 2 * step.mixed_peers < most) continue;
        ++mean.steps;
        mean.seen += step.variance_after / step.variance_before;
        mean.expected += variance_left(step.mixed_peers, static_cast<double>(step.rounds));
        mean.counted_seen += share_of(step.variance_after, step.counted_variance);
        mean.counted_expected += variance_left(step.counted_peers, static_cast<double>(step.rounds));
    }
    const auto steps = static_cast<double>(std::max<std::size_t>(1, mean.steps));
    for (double* sum : {&mean.seen, &mean.expected, &mean.counted_seen, &mean.counted_expected})
        *sum /= steps;
    return mean;
}

double median_mixed(const ScenarioResult& result) {
    std::vector<double> mixed;
    for (const StepSummary& step : result.steps) mixed.push_back(static_cast<double>(step.mixed_peers));
    if (mixed.empty()) return 0;
    std::sort(mixed.begin(), mixed.end());
    return mixed[mixed.size() / 2];
}

std::string variance_lines(const Scenario& scenario, const ScenarioResult& result) {
    if (scenario.group_size == 0 || result.steps.empty()) return {};
    std::string text =
        fmt::format("\n{:>5} {:>6} {:>7} {:>8} {:>15} {:>10} {:>7} {:>7} {:>14} {:>12} {:>7} {:>7}\n", "step",
                    "peers", "groups", "attempts", "variance before", "after", "left", "formula",
                    "parameters of", "their before", "left", "formula");
    const std::size_t every = std::max<std::size_t>(1, result.steps.size() / 20);
    for (std::size_t i = 0; i < result.steps.size(); i += every) {
        const StepSummary& step = result.steps[i];
        const auto groups = static_cast<double>(step.rounds);
        text += fmt::format(
            "{:>5} {:>6} {:>7} {:>8} {:>15.4g} {:>10.4g} {:>7.4f} {:>7.4f} {:>14} {:>12.4g} {:>7.4f} "
            "{:>7.4f}\n",
            step.step, step.mixed_peers, step.rounds, step.attempts, step.variance_before,
            step.variance_after, share_of(step.variance_after, step.variance_before),
            variance_left(step.mixed_peers, groups), step.counted_peers, step.counted_variance,
            share_of(step.variance_after, step.counted_variance), variance_left(step.counted_peers, groups));
    }
    const VarianceLeft mean = variance_left_in(result);
    text += fmt::format(
        "A step leaves {:.4f} of the variance among the peers (mean over {} steps); by (r-1)/(N-1), with\n"
        "the groups that there were: {:.4f}. Of the variance among those whose parameters counted: {:.4f},\n"
        "by the formula {:.4f}.\n",
        mean.seen, mean.steps, mean.expected, mean.counted_seen, mean.counted_expected);
    return text;
}

}  // namespace

std::string scenario_table(const Scenario& scenario, const ScenarioResult& result) {
    std::string text = fmt::format("{}: {}\n\n", scenario.name, scenario.about);
    const double steps = static_cast<double>(result.steps.size());
    text += fmt::format("{:.0f} steps in {} of virtual time; a step takes {}, its averaging {} (median)\n",
                        steps, span_text(result.virtual_seconds),
                        span_text(median_of(result.steps, &StepSummary::seconds)),
                        span_text(median_of(result.steps, &StepSummary::match_seconds) +
                                  median_of(result.steps, &StepSummary::reduce_seconds) +
                                  median_of(result.steps, &StepSummary::vote_seconds)));
    if (!result.steps.empty())
        text += fmt::format("loss {:.4g} at the first step, {:.4g} at the last\n", result.steps.front().loss,
                            result.steps.back().loss);
    text += fmt::format("{:.1f} % of the samples computed stand behind a step\n\n",
                        100 * result.samples_counted / std::max(1.0, result.samples_computed));
    text += fmt::format("{:<20} {:>5} {:>9} {:>9} {:>9} {:>9} {:>9} {:>10} {:>10}\n", "peers", "", "samples",
                        "MB up", "MB down", "up busy", "down busy", "held up by", "held up by");
    text += fmt::format("{:<20} {:>5} {:>9} {:>9} {:>9} {:>9} {:>9} {:>10} {:>10}\n", "", "", "", "a step",
                        "a step", "in rounds", "in rounds", "upload", "download");
    for (const GroupSummary& group : result.groups) text += group_line(result, group);
    text += fmt::format("\nIn {:.0f} % of the rounds no line was full: latency and protocol held them up.\n",
                        100 * static_cast<double>(result.rounds_without_bottleneck) /
                            std::max<double>(1, static_cast<double>(result.rounds)));
    text += variance_lines(scenario, result);
    for (const auto& [what, count] : result.faults) text += fmt::format("{:>6} x {}\n", count, what);
    if (!result.failed_rounds.empty()) text += "\nRounds that failed, by cause:\n";
    for (const auto& [cause, count] : result.failed_rounds) text += fmt::format("{:>6} x {}\n", count, cause);
    for (const std::string& violation : result.violations) text += "VIOLATED: " + violation + "\n";
    if (!result.one_history_checked && scenario.group_size == 0)
        text += "The swarm was without a quorum for too long and may have gone two ways.\n";
    return text;
}

void add_to_json(const Scenario& scenario, const ScenarioResult& result, nlohmann::json& json) {
    json["scenario"] = result.scenario;
    json["about"] = scenario.about;
    json["seed"] = result.seed;
    json["peers"] = scenario.peer_count();
    json["virtual_seconds"] = result.virtual_seconds;
    json["training_seconds"] = result.training_seconds;
    json["samples_computed"] = result.samples_computed;
    json["samples_counted"] = result.samples_counted;
    json["step_seconds_median"] = median_of(result.steps, &StepSummary::seconds);
    json["reduce_seconds_median"] = median_of(result.steps, &StepSummary::reduce_seconds);
    json["rounds_without_bottleneck"] = result.rounds_without_bottleneck;
    json["failed_rounds"] = result.failed_rounds;
    json["faults"] = result.faults;
    json["violations"] = result.violations;
    json["one_history_checked"] = result.one_history_checked;
    for (const StepSummary& step : result.steps)
        json["steps"].push_back({{"step", step.step},
                                 {"at", step.at},
                                 {"seconds", step.seconds},
                                 {"loss", step.loss},
                                 {"samples", step.samples},
                                 {"members", step.members},
                                 {"attempts", step.attempts},
                                 {"rounds", step.rounds},
                                 {"mixed_peers", step.mixed_peers},
                                 {"variance_before", step.variance_before},
                                 {"variance_after", step.variance_after},
                                 {"counted_peers", step.counted_peers},
                                 {"counted_variance", step.counted_variance},
                                 {"match_seconds", step.match_seconds},
                                 {"reduce_seconds", step.reduce_seconds},
                                 {"vote_seconds", step.vote_seconds}});
    for (const GroupSummary& group : result.groups)
        json["groups"].push_back(group_json(group, static_cast<double>(result.steps.size())));
    for (const auto& [at, peers] : result.running) json["running"].push_back({at, peers});
}

void draw_scenario(const Scenario& scenario, const ScenarioResult& result,
                   const std::filesystem::path& file) {
    const std::string title = scenario.name + ": " + scenario.about;
    run::Picture picture{title, "minutes", "samples per second; peers", {}, {}};
    picture.curves = {throughput(result), running_peers(result)};
    for (const ScenarioEvent& event : scenario.events)
        if (event.every == 0) picture.marks.push_back({event.at / 60, std::string(to_string(event.what))});
    run::draw(picture, file);
    run::Picture loss{title, "global step", "loss", {by_step(result, "loss", &StepSummary::loss)}, {}};
    run::draw(loss, beside(file, "loss"));
    run::Picture rounds{title, "global step", "seconds", {}, {}};
    rounds.curves = {by_step(result, "whole step", &StepSummary::seconds),
                     by_step(result, "finding the group", &StepSummary::match_seconds),
                     by_step(result, "all-reduce", &StepSummary::reduce_seconds),
                     by_step(result, "vote", &StepSummary::vote_seconds)};
    run::draw(rounds, beside(file, "rounds"));
    run::Picture traffic{title, "group", "megabytes per peer and step", {}, {}};
    run::Curve up{"sent", {}, {}, true}, down{"received", {}, {}, true};
    for (std::size_t i = 0; i < result.groups.size(); ++i) {
        const GroupSummary& group = result.groups[i];
        const double peers = std::max<double>(1, static_cast<double>(group.peers));
        const double steps = std::max<double>(1, static_cast<double>(result.steps.size()));
        for (run::Curve* curve : {&up, &down}) curve->x.push_back(static_cast<double>(i + 1));
        up.y.push_back(group.bytes_sent / kMegabyte / steps / peers);
        down.y.push_back(group.bytes_received / kMegabyte / steps / peers);
        traffic.marks.push_back({static_cast<double>(i + 1), group.name});
    }
    traffic.curves = {up, down};
    run::draw(traffic, beside(file, "traffic"));
}

void demand_of_scenario(const Scenario& scenario, const ScenarioResult& result, run::Result& demands) {
    demands.demand_at_most("violated invariants", static_cast<double>(result.violations.size()), 0);
    const double last = result.steps.empty() ? 0 : result.steps.back().at;
    demands.demand_at_least("last step, as a share of the time", last / result.training_seconds, 0.9);
    if (scenario.group_size > 0) {
        const VarianceLeft left = variance_left_in(result);
        demands.demand_at_least(
            "steps whose variance was measured, as a share of all",
            static_cast<double>(left.steps) / std::max<double>(1, static_cast<double>(result.steps.size())),
            kMeasuredSteps);
        demands.demand_at_least("peers that mixed in a step, as a share of all (median)",
                                median_mixed(result) / static_cast<double>(scenario.peer_count()),
                                kMixedPeers);
        demands.demand_at_most("variance that a step leaves, against (r-1)/(N-1)",
                               left.expected > 0 ? left.seen / left.expected : 0, 1 + kVarianceTolerance);
        demands.demand_at_most("the same of those whose parameters counted",
                               left.counted_expected > 0 ? left.counted_seen / left.counted_expected : 0,
                               1 + kVarianceTolerance);
    }
    if (scenario.ideal_averaging_seconds > 0)
        demands.demand_at_most(
            "all-reduce against its time on an ideal network",
            median_of(result.steps, &StepSummary::reduce_seconds) / scenario.ideal_averaging_seconds,
            1 + kProtocolOverhead);
    if (scenario.ideal_step_seconds > 0)
        demands.demand_at_most("a step against its time on an ideal network",
                               median_of(result.steps, &StepSummary::seconds) / scenario.ideal_step_seconds,
                               1 + kProtocolOverhead);
}

}  // namespace shoal::sim
