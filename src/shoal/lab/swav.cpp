#include "shoal/lab/swav.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <fmt/format.h>
#include <fstream>
#include <map>
#include <optional>
#include <set>

#include "shoal/base/error.h"
#include "shoal/lab/peer_process.h"
#include "shoal/lab/peers_folder.h"
#include "shoal/run/checkpoint.h"
#include "shoal/train/probe_program.h"

namespace shoal::lab {

namespace {

constexpr std::array kLoads = {1.0, 0.6, 0.3};

/// One of the two runs, when it has ended.
struct Outcome {
    std::map<std::int64_t, double> loss;  ///< of the swarm, by step
    double seconds = 0;
    double samples_a_step = 0;
    std::size_t differing_steps = 0;  ///< at which two peers had different parameters
    std::size_t last_digests = 0;     ///< different ones in the end: 1 if all peers hold the same
    std::vector<double> samples;      ///< that each peer computed
    train::ProbeReport probed;
};

class Swav {
  public:
    explicit Swav(const SwavOptions& options) : options_(options) {
        options_.folder = std::filesystem::absolute(options_.folder);
        options_.settings.insert(options_.settings.begin(),
                                 "averaging.delayed=true");  // as the paper's peers
        for (const std::string& setting : options_.settings)
            overrides_.push_back(run::parse_override(setting));
        make_peers_folder(options_.folder);
    }

    int run() {
        write_run_file();
        run::load_definition(run_file(), overrides_, run::Purpose::training);  // refuses wrong ones at once
        const Outcome swarm = train("swarm", {kLoads.begin(), kLoads.end()});
        const Outcome one = train("one", {1.0});
        return report(swarm, one);
    }

  private:
    std::filesystem::path run_file() const { return options_.folder / "run.toml"; }
    void write_run_file() const;
    std::vector<PeerProcess> start(const std::string& name, const std::vector<double>& loads) const;
    Outcome outcome_of(const std::vector<PeerProcess>& peers) const;
    Outcome train(const std::string& name, const std::vector<double>& loads);
    void watch(const std::string& name, std::vector<PeerProcess>& peers) const;
    train::ProbeReport probed(const PeerProcess& peer, bool is_swarm) const;
    int report(const Outcome& swarm, const Outcome& one) const;
    void draw_losses(const Outcome& swarm, const Outcome& one) const;

    SwavOptions options_;
    std::vector<run::Override> overrides_;  ///< of the swarm
};

void Swav::write_run_file() const {
    std::ofstream file(run_file());
    file << fmt::format(R"([run]
name = "swav"
target_batch_size = {}
steps = {}
seed = {}

[model]
kind = "swav"
size = "tiny"

[data]
kind = "fashion-mnist"
{}
micro_batch_size = {}

[swav]
frozen_steps = {}
large_scale = [0.4, 1.0]
small_crops = 2
small_crop = 16
small_scale = [0.15, 0.4]
colour = 0.5
blur_sigma = [0.1, 0.8]

[optimizer]
name = "larc"
momentum = 0.9
weight_decay = 1e-6
epsilon = 1e-8
trust = 0.001
clip_gradient_norm = 0.0

[schedule]
kind = "cosine"
learning_rate = 2.4
start_learning_rate = 0.3
final_learning_rate = 0.0048
warmup_steps = {}

[averaging]
codec = "fp16"

[network]
listen_host = "127.0.0.1"

[peer]
threads = 1

[checkpoints]
every = {}
keep = 1
)",
                        options_.target_batch_size, options_.steps, options_.seed,
                        options_.images.empty()
                            ? std::string()
                            : "path = \"" + std::filesystem::absolute(options_.images).string() + "\"",
                        options_.micro_batch_size, options_.steps / 12, options_.steps / 10, options_.steps);
    if (!file.flush()) throw Error(ErrorKind::system, "cannot write " + run_file().string());
}

/// Until all have ended by themselves.
void Swav::watch(const std::string& name, std::vector<PeerProcess>& peers) const {
    const auto is_running = [](PeerProcess& peer) { return peer.running(); };
    const double began = wall_seconds();
    double said = began;
    while (std::any_of(peers.begin(), peers.end(), is_running)) {
        for (PeerProcess& peer : peers) {
            peer.log->update();
            const auto status = peer.process->poll();
            if (status && (status->signalled || status->code != 0))
                throw Error(ErrorKind::system,
                            fmt::format("{} ended by itself ({}); see {}", peer.name, status->to_string(),
                                        (peer.folder / "output.txt").string()));
        }
        const double now = wall_seconds();
        if (now - said >= 10) {
            said = now;
            const std::int64_t step = peers[0].log->step;
            const double left = step > 0 ? (now - began) * static_cast<double>(options_.steps - step) /
                                               static_cast<double>(step)
                                         : 0;
            fmt::print("{}: step {} of {}, {}\n", name, step, options_.steps,
                       step > 0 ? fmt::format("{:.0f} s left", left) : "not begun yet");
            std::fflush(stdout);
        }
        peers[0].process->wait_until(std::chrono::steady_clock::now() + std::chrono::milliseconds(200));
    }
    for (PeerProcess& peer : peers) peer.log->update();
}

train::ProbeReport Swav::probed(const PeerProcess& peer, bool is_swarm) const {
    train::ProbeProgramOptions probe;
    probe.checkpoints = peer.folder / "checkpoints";
    probe.random = !is_swarm;
    if (options_.result.quick) probe.probe.samples = 10000;
    return train::probe_checkpoint(
        run::load_definition(run_file(), is_swarm ? overrides_ : std::vector<run::Override>(),
                             run::Purpose::training),
        probe);
}

std::vector<PeerProcess> Swav::start(const std::string& name, const std::vector<double>& loads) const {
    std::vector<PeerProcess> peers;
    const std::uint16_t port = free_port();
    for (std::size_t i = 0; i < loads.size(); ++i) {
        PeerStart start;
        start.name = fmt::format("{}-{}", name, i + 1);
        start.run_file = run_file();
        start.folder = options_.folder / "peers" / start.name;
        start.settings = {fmt::format("peer.load={}", loads[i])};
        if (i == 0)
            start.settings.push_back(fmt::format("network.listen_port={}", port));
        else
            start.settings.push_back(fmt::format("network.bootstrap=127.0.0.1:{}", port));
        if (loads.size() > 1)
            start.settings.insert(start.settings.end(), options_.settings.begin(), options_.settings.end());
        peers.push_back(start_peer(start));
    }
    return peers;
}

/// What the peers have told, and the digests of the checkpoints that they have left. A slow peer may have
/// loaded the last state instead of taking the last step.
Outcome Swav::outcome_of(const std::vector<PeerProcess>& peers) const {
    Outcome outcome;
    std::map<std::int64_t, std::set<std::string>> digests;
    std::set<std::string> last;
    for (const PeerProcess& peer : peers) {
        outcome.samples.push_back(static_cast<double>(peer.log->samples));
        for (const auto& [step, line] : peer.log->steps) {
            outcome.loss[step] = line.swarm_loss;
            digests[step].insert(line.digest);
        }
        const run::CheckpointFolder folder(peer.folder / "checkpoints", 1, Log());
        const std::optional<run::Checkpoint> checkpoint = folder.latest();
        const bool complete = checkpoint && value(checkpoint->info.step) == options_.steps;
        last.insert(complete ? checkpoint->info.digest.hex() : "none of " + peer.name);
    }
    outcome.last_digests = last.size();
    for (const auto& [step, held] : digests) outcome.differing_steps += held.size() > 1;
    const auto& steps = peers[0].log->steps;
    if (steps.empty()) return outcome;
    outcome.seconds = steps.rbegin()->second.time - steps.begin()->second.time;
    for (const auto& [step, line] : steps)
        outcome.samples_a_step += line.samples / static_cast<double>(steps.size());
    return outcome;
}

Outcome Swav::train(const std::string& name, const std::vector<double>& loads) {
    std::vector<PeerProcess> peers = start(name, loads);
    watch(name, peers);
    Outcome outcome = outcome_of(peers);
    outcome.probed = probed(peers[0], loads.size() > 1);
    fmt::print("{}: {} steps of {:.0f} samples in {:.0f} s, probe accuracy {:.2f} %\n", name, options_.steps,
               outcome.samples_a_step, outcome.seconds, 100 * outcome.probed.trained.test_accuracy);
    std::fflush(stdout);
    return outcome;
}

/// The mean over the given share of the run, from its beginning or up to its end.
double mean_loss(const Outcome& outcome, bool at_the_end) {
    std::vector<double> all;
    for (const auto& [step, loss] : outcome.loss) all.push_back(loss);
    if (at_the_end) std::reverse(all.begin(), all.end());
    const std::size_t count = std::max<std::size_t>(1, all.size() / 20);
    double sum = 0;
    for (std::size_t i = 0; i < std::min(count, all.size()); ++i) sum += all[i];
    return sum / static_cast<double>(count);
}

void Swav::draw_losses(const Outcome& swarm, const Outcome& one) const {
    run::Picture picture;
    picture.title = "SwAV on Fashion-MNIST: loss of the swarm and of one process";
    picture.x_label = "step";
    picture.y_label = "loss";
    for (const auto& [title, outcome] : {std::pair("three unequal peers", &swarm), std::pair("one", &one)}) {
        run::Curve curve;
        curve.title = title;
        for (const auto& [step, loss] : outcome->loss) {
            curve.x.push_back(static_cast<double>(step));
            curve.y.push_back(loss);
        }
        picture.curves.push_back(std::move(curve));
    }
    run::draw(picture, options_.result.plot);
}

int Swav::report(const Outcome& swarm, const Outcome& one) const {
    run::Result result("lab swav", options_.result);
    const double by_swarm = 100 * swarm.probed.trained.test_accuracy;
    const double by_one = 100 * one.probed.trained.test_accuracy;
    const double by_chance = 100 * one.probed.random.test_accuracy;
    if (options_.result.quick) fmt::print("this is the quick size, {} steps\n", options_.steps);
    fmt::print(
        "linear probe, test accuracy: three unequal peers {:.2f} %, one process {:.2f} %, random "
        "features {:.2f} %\n",
        by_swarm, by_one, by_chance);
    result.json().update(
        {{"size", options_.result.quick ? "quick" : "full"},
         {"steps", options_.steps},
         {"target_batch_size", options_.target_batch_size},
         {"seed", options_.seed},
         {"settings", options_.settings},
         {"accuracy", {{"swarm", by_swarm}, {"one", by_one}, {"random", by_chance}}},
         {"seconds", {{"swarm", swarm.seconds}, {"one", one.seconds}}},
         {"samples", swarm.samples},
         {"samples_a_step", {{"swarm", swarm.samples_a_step}, {"one", one.samples_a_step}}},
         {"first_loss", {{"swarm", mean_loss(swarm, false)}, {"one", mean_loss(one, false)}}},
         {"last_loss", {{"swarm", mean_loss(swarm, true)}, {"one", mean_loss(one, true)}}}});
    if (!options_.result.plot.empty()) draw_losses(swarm, one);
    result.demand("all peers hold the same parameters at the end", swarm.last_digests == 1);
    result.demand_at_most("steps with different parameters", static_cast<double>(swarm.differing_steps), 0);
    result.demand("every peer gave samples",
                  *std::min_element(swarm.samples.begin(), swarm.samples.end()) > 0);
    result.demand_at_most("loss at the end, of that at the beginning",
                          mean_loss(swarm, true) / mean_loss(swarm, false), 0.9);
    result.demand_at_least("swarm's accuracy against random features", by_swarm - by_chance,
                           options_.result.quick ? 2 : 8, "points");
    // So few steps leave too much to chance for a comparison within a point.
    if (!options_.result.quick)
        result.demand_at_least("swarm's accuracy against one process", by_swarm - by_one, -1, "points");
    return result.finish();
}

}  // namespace

void make_quick(SwavOptions& options) {
    options.steps = 60;
    options.target_batch_size = 128;
    options.micro_batch_size = 32;
}

int run_swav(const SwavOptions& options) {
    return Swav(options).run();
}

}  // namespace shoal::lab
