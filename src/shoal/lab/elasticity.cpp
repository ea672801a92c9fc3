#include "shoal/lab/elasticity.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <thread>

#include "shoal/lab/elasticity_schedule.h"
#include "shoal/lab/replica_swarm.h"
#include "shoal/run/progress_line.h"

namespace shoal::lab {
namespace {

/// Rounds and micro-batches under way cost a step about a tenth of a second or two, whatever it takes: so
/// short steps follow less closely.
constexpr double kMeanError = 0.1, kWorstError = 0.15, kWithChanges = 0.85;
constexpr double kMeanErrorQuick = 0.5, kWorstErrorQuick = 0.7, kWithChangesQuick = 0.3;
/// Shares of the reference's fall. What few samples a step leave to chance is larger.
constexpr double kLossDifference = 0.02, kWorstLossDifference = 0.06;
constexpr double kLossDifferenceQuick = 0.06, kWorstLossDifferenceQuick = 0.3;
constexpr double kMicroBatchSeconds = 0.25;
constexpr double kSettleLimit = 180, kEndLimit = 120;  // seconds
constexpr double kSettleGuess = 6;                     // for the remaining time only
constexpr double kMegabits = 1000;                     // of each line: not what is measured here
constexpr auto kLook = std::chrono::milliseconds(100);
/// Slow enough that the loss still falls after a hundred steps.
const std::vector<std::string> kArguments = {"--rate", "0.005"};

double sum_of_speeds(const std::vector<ElasticPeer>& peers) {
    double sum = 0;
    for (const ElasticPeer& peer : peers) sum += peer.speed;
    return sum;
}

/// Goes on at the value before, then steps to this one.
void add_stair(run::Curve& curve, double from, double to, double value) {
    const double before = curve.y.empty() ? value : curve.y.back();
    curve.x.insert(curve.x.end(), {from, from, to});
    curve.y.insert(curve.y.end(), {before, value, value});
}

class Elasticity {
  public:
    explicit Elasticity(const ElasticityOptions& options)
        : options_(options),
          lines_(std::vector<ShapedLine>(2 * peers_.size(), {kMegabits * 1e6, kMegabits * 1e6})),
          elastic_(settings("elastic", 0), lines_),
          fixed_(settings("fixed", peers_.size()), lines_) {}

    int run() {
        fmt::print(
            "{} peers, {} of them part-time, and beside them the same ones for all of the time; a batch of "
            "{} "
            "samples, {:g} s when all are there\n",
            peers_.size(),
            std::count_if(peers_.begin(), peers_.end(),
                          [](const ElasticPeer& peer) { return peer.part_time; }),
            target(), options_.step_seconds);
        fmt::print("{:>6} {:>5} {:>9} {:>6} {:>12} {:>9} {:>9} {:>6}  {}\n", "window", "peers", "samples/s",
                   "steps", "samples/step", "steps/s", "expected", "ratio", "change before it");
        std::fflush(stdout);
        for (std::size_t i = 0; i < peers_.size(); ++i) start(fixed_, i, peers_.size() + i);
        for (std::size_t i = 0; i < schedule_.size(); ++i) play(i);
        look_until(
            "everybody to agree", kEndLimit, elastic_.peers_folder(), [this] { look(); },
            [this] { return elastic_.all_agree(); });
        line_.clear();
        return report();
    }

  private:
    std::int64_t target() const {
        return static_cast<std::int64_t>(options_.step_seconds * sum_of_speeds(peers_));
    }

    ReplicaRun settings(const std::string& name, std::size_t first_machine) const {
        return {.name = "elasticity-" + name,
                .folder = options_.folder / name,
                .target_batch_size = target(),
                .bootstrap = {first_machine, first_machine + 1},
                .arguments = kArguments};
    }

    void start(ReplicaSwarm& swarm, std::size_t peer, std::size_t machine) {
        const double speed = peers_[peer].speed;
        swarm.start(machine, {.name = peers_[peer].name,
                              .speed = speed,
                              .micro_batch = static_cast<std::int64_t>(speed * kMicroBatchSeconds)});
    }

    void look() {
        std::this_thread::sleep_for(kLook);  // it watches files that others write
        elastic_.update();
        fixed_.update();
        const double within = std::min(1.0, (wall_seconds() - change_) / (options_.window + kSettleGuess));
        line_.show(
            (static_cast<double>(windows_.size()) + within) / static_cast<double>(schedule_.size()),
            fmt::format("window {} of {}, {} peers, step {}", std::min(windows_.size() + 1, schedule_.size()),
                        schedule_.size(), elastic_.present().size(), elastic_.step()));
    }

    /// Changes the membership, waits until that is done, and measures until the window is over.
    void play(std::size_t index) {
        const Change& change = schedule_[index];
        change_ = wall_seconds();
        changes_.push_back(change_);
        for (const std::size_t peer : change.say_goodbye) elastic_.stop(peer, Departure::goodbye);
        for (const std::size_t peer : change.are_killed) elastic_.stop(peer, Departure::kill);
        for (const std::size_t peer : change.come) start(elastic_, peer, peer);
        Window window;
        window.from = change_;
        const auto look_on = [this] { look(); };
        look_until("peers to leave", kSettleLimit, elastic_.peers_folder(), look_on, [&] {
            return std::all_of(change.say_goodbye.begin(), change.say_goodbye.end(),
                               [&](std::size_t peer) { return elastic_.is_free(peer); });
        });
        if (!change.say_goodbye.empty()) window.from = wall_seconds();
        look_until("newcomers to contribute", kSettleLimit, elastic_.peers_folder(), look_on,
                   [&] { return elastic_.all_contribute(); });
        for (const std::size_t peer : change.come)
            window.from = std::max(window.from, *elastic_.at(peer).peer.log->first_contribution);
        window.to = window.from + options_.window;
        look_until("the end of a window", options_.window + kEndLimit, elastic_.peers_folder(), look_on,
                   [&] { return wall_seconds() >= window.to; });
        // What the step under way adds to this window is known when it has been taken.
        look_until("a step after the window", kEndLimit, elastic_.peers_folder(), look_on,
                   [&] { return last_step_at(elastic_) > window.to; });
        window.peers = members_[index].size();
        for (const std::size_t peer : members_[index]) window.speed += peers_[peer].speed;
        window.measured = stretch_within(steps_of(elastic_.logs()), window.from, window.to);
        windows_.push_back(window);
        line_.clear();
        fmt::print("{:>6} {:>5} {:>9.0f} {:>6.1f} {:>12.1f} {:>9.4f} {:>9.4f} {:>6.3f}  {}\n",
                   windows_.size(), window.peers, window.speed, window.measured.steps,
                   window.measured.samples_per_step(), window.measured.steps_per_second(),
                   window.expected_steps_per_second(), window.ratio(), words_of(change));
        std::fflush(stdout);
    }

    /// Seconds since 1970.
    static double last_step_at(const ReplicaSwarm& swarm) {
        const SwarmSteps taken = steps_of(swarm.logs());
        return taken.empty() ? 0 : taken.rbegin()->second.time;
    }

    std::string words_of(const Change& change) const {
        std::vector<std::string> words;
        const auto add = [&](const char* what, const std::vector<std::size_t>& who) {
            if (who.empty()) return;
            std::vector<std::string> names;
            for (const std::size_t peer : who) names.push_back(peers_[peer].name);
            words.push_back(fmt::format("{} {}", what, fmt::join(names, " ")));
        };
        add("come:", change.come);
        add("goodbye:", change.say_goodbye);
        add("kill -9:", change.are_killed);
        return fmt::format("{}", fmt::join(words, "; "));
    }

    /// Samples that all could have computed from the first window on, from each one's start to its end.
    double possible_samples() const {
        double samples = 0;
        for (const Replica& replica : elastic_.replicas()) {
            const double from = std::max(replica.peer.spawned, windows_.front().from);
            const double to = std::min(replica.told_to_go.value_or(windows_.back().to), windows_.back().to);
            samples += replica.speed * std::max(0.0, to - from);
        }
        return samples;
    }

    int report() {
        const bool quick = options_.result.quick;
        const SwarmSteps steps = steps_of(elastic_.logs()), reference = steps_of(fixed_.logs());
        const Follows follows = follow(windows_);
        const Stretch whole = stretch_within(steps, windows_.front().from, windows_.back().to);
        const Stretch calm = stretch_within(reference, windows_.front().from, windows_.back().to);
        const double with_changes = whole.samples / possible_samples();
        const double of_fixed = calm.samples_per_second() / sum_of_speeds(peers_);
        const LossComparison losses = compare_losses(steps, reference);
        fmt::print(
            "steps a second over sum of speeds / samples a step: mean {:.3f}; off by {:.1f} % in the mean, "
            "{:.1f} % "
            "at worst; of the fixed swarm {:.3f}; from each start to each end, changes included, {:.3f}\n",
            follows.mean_ratio, 100 * follows.mean_error, 100 * follows.worst_error, of_fixed, with_changes);
        fmt::print(
            "loss of the same step, elastic minus fixed, {} steps: mean {:+.4f} (standard error {:.4f}), "
            "{:+.2f} % "
            "of the fall of {:.3f}; in the worst tenth of the steps {:.2f} %\n",
            losses.steps, losses.mean_difference, losses.standard_error, 100 * losses.share_of_fall(),
            losses.fall, 100 * losses.worst_share_of_fall());
        run::Result result("lab elasticity", options_.result);
        fill(result.json(), steps, reference);
        result.json().update({{"mean_ratio", follows.mean_ratio},
                              {"mean_error", follows.mean_error},
                              {"worst_error", follows.worst_error},
                              {"ratio_of_fixed", of_fixed},
                              {"ratio_with_changes", with_changes},
                              {"steps_compared", losses.steps},
                              {"loss_mean_difference", losses.mean_difference},
                              {"loss_standard_error", losses.standard_error},
                              {"loss_fall", losses.fall},
                              {"loss_worst_tenth", losses.worst_tenth}});
        result.demand_at_most("steps/s of a window off the sum of speeds, mean", follows.mean_error,
                              quick ? kMeanErrorQuick : kMeanError);
        result.demand_at_most("steps/s of a window off the sum of speeds, worst", follows.worst_error,
                              quick ? kWorstErrorQuick : kWorstError);
        result.demand_at_least("samples stepped, share of what all could compute from start to end",
                               with_changes, quick ? kWithChangesQuick : kWithChanges);
        result.demand_at_most("mean difference of the loss of a step, share of its fall",
                              std::abs(losses.share_of_fall()),
                              quick ? kLossDifferenceQuick : kLossDifference);
        result.demand_at_most("the same in the worst tenth of the steps", losses.worst_share_of_fall(),
                              quick ? kWorstLossDifferenceQuick : kWorstLossDifference);
        result.demand_at_most("steps with different parameters",
                              static_cast<double>(disagreements(elastic_.logs())), 0);
        result.demand("all that are there hold the same parameters at the end", elastic_.all_agree());
        draw(steps, reference);
        return result.finish();
    }

    void fill(nlohmann::json& json, const SwarmSteps& steps, const SwarmSteps& reference) const {
        json["target_batch_size"] = target();
        for (const ElasticPeer& peer : peers_)
            json["peers"].push_back(
                {{"name", peer.name}, {"samples_per_second", peer.speed}, {"part_time", peer.part_time}});
        for (const Replica& replica : elastic_.replicas()) {
            nlohmann::json session = {{"name", replica.peer.name},
                                      {"from", replica.peer.spawned - begin_},
                                      {"killed", replica.peer.killed}};
            if (replica.told_to_go) session["to"] = *replica.told_to_go - begin_;
            if (const auto first = replica.peer.log->first_contribution)
                session["first_contribution"] = *first - begin_;
            json["sessions"].push_back(session);
        }
        for (std::size_t i = 0; i < windows_.size(); ++i) {
            const Window& window = windows_[i];
            json["windows"].push_back({{"change", words_of(schedule_[i])},
                                       {"from", window.from - begin_},
                                       {"to", window.to - begin_},
                                       {"peers", window.peers},
                                       {"sum_of_speeds", window.speed},
                                       {"steps", window.measured.steps},
                                       {"samples_per_step", window.measured.samples_per_step()},
                                       {"steps_per_second", window.measured.steps_per_second()},
                                       {"expected_steps_per_second", window.expected_steps_per_second()},
                                       {"ratio", window.ratio()}});
        }
        for (const auto& [name, taken] : {std::pair("loss", &steps), std::pair("loss_fixed", &reference)})
            for (const auto& [step, line] : *taken)
                json[name].push_back({{"step", step}, {"loss", line.swarm_loss}, {"samples", line.samples}});
    }

    void draw(const SwarmSteps& steps, const SwarmSteps& reference) const {
        if (options_.result.plot.empty()) return;
        const auto minutes = [this](double time) { return (time - begin_) / 60; };
        run::Picture rates{
            "Steps a second of a swarm whose peers come and go", "minutes", "steps a second", {}, {}};
        run::Picture peers{"Peers", "minutes", "active", {}, {}};
        run::Curve each{"each step", {}, {}, true}, measured{"measured in each window", {}, {}},
            expected{"sum of speeds / samples a step", {}, {}}, active{"active peers", {}, {}};
        double before = 0;
        for (const auto& [step, line] : steps) {
            if (before > 0 && line.time > before)
                each.x.push_back(minutes(line.time)), each.y.push_back(1 / (line.time - before));
            before = line.time;
        }
        for (std::size_t i = 0; i < windows_.size(); ++i) {
            const Window& window = windows_[i];
            add_stair(measured, minutes(window.from), minutes(window.to), window.measured.steps_per_second());
            add_stair(expected, minutes(window.from), minutes(window.to), window.expected_steps_per_second());
            add_stair(active, minutes(changes_[i]), minutes(window.to), static_cast<double>(window.peers));
            const Change& change = schedule_[i];
            const std::size_t gone = change.say_goodbye.size() + change.are_killed.size();
            rates.marks.push_back({minutes(changes_[i]), fmt::format("+{} -{}", change.come.size(), gone)});
        }
        rates.curves = {each, measured, expected};
        peers.curves = {active};
        run::Picture losses{"Loss", "step", "loss", {}, {}};
        run::Curve elastic{"peers come and go", {}, {}}, fixed{"the same peers all the time", {}, {}, true};
        for (const auto& [step, line] : steps)
            elastic.x.push_back(static_cast<double>(step)), elastic.y.push_back(line.swarm_loss);
        for (const auto& [step, line] : reference) {
            if (step > steps.rbegin()->first) break;
            fixed.x.push_back(static_cast<double>(step)), fixed.y.push_back(line.swarm_loss);
        }
        losses.curves = {elastic, fixed};
        run::draw({rates, peers, losses}, options_.result.plot);
    }

    ElasticityOptions options_;
    const std::vector<ElasticPeer> peers_ = elastic_peers();
    const std::vector<Change> schedule_ = elasticity_schedule(options_.result.quick);
    const std::vector<std::vector<std::size_t>> members_ = memberships(schedule_);
    ShapedLines lines_;
    std::vector<Window> windows_;
    std::vector<double> changes_;  // when each change was made
    const double begin_ = wall_seconds();
    double change_ = begin_;
    run::ProgressLine line_;
    ReplicaSwarm elastic_, fixed_;  // last: end first
};

}  // namespace

void make_quick(ElasticityOptions& options) {
    options.result.quick = true;
    options.window = 6;
    options.step_seconds = 0.5;
}

int run_elasticity(const ElasticityOptions& options) {
    return Elasticity(options).run();
}

}  // namespace shoal::lab
