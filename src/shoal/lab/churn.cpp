#include "shoal/lab/churn.h"

#include <algorithm>
#include <array>
#include <csignal>
#include <fmt/format.h>
#include <optional>
#include <thread>

#include "shoal/base/random.h"
#include "shoal/lab/replica_swarm.h"
#include "shoal/run/progress_line.h"

namespace shoal::lab {

namespace {

constexpr std::array kFaults = {"kill", "freeze", "unplug"};
/// An independent report of torchft has this, with 32 replicas and a fault every 29 s. Fewer peers and more
/// faults leave less, however well they are borne.
constexpr double kDemandedGoodput = 0.977, kDemandedOfHarderRuns = 0.5;
constexpr int kReportedPeers = 32;
constexpr double kReportedInterval = 29;
constexpr double kSamplesPerSecond = 8;  // of one peer
constexpr int kMicroBatch = 4;
constexpr double kStartLimit = 180, kEndLimit = 120, kLongestCalm = 300;  // seconds
constexpr double kMegabits = 1000;  // of each line: not what is measured here
constexpr auto kLook = std::chrono::milliseconds(100);

struct Fault {
    std::string kind;
    std::size_t machine = 0;
    double at = 0;  ///< seconds since 1970
    bool over = false;
};

class Churn {
  public:
    explicit Churn(const ChurnOptions& options)
        : options_(options),
          random_(options.seed),
          lines_(std::vector<ShapedLine>(static_cast<std::size_t>(options.peers),
                                         {kMegabits * 1e6, kMegabits * 1e6})),
          lives_(static_cast<std::size_t>(options.peers), 0),
          swarm_(settings(), lines_) {}

    int run() {
        fmt::print("{} peers, a batch of {} samples in {:g} s; {} faults, one every {:g} s, {:g} s each\n",
                   options_.peers, target(), options_.step_seconds, options_.faults, options_.every,
                   options_.away);
        std::fflush(stdout);
        for (std::size_t machine = 0; machine < lives_.size(); ++machine) start(machine);
        wait_for("all peers to contribute", kStartLimit, [this] { return swarm_.all_contribute(); });
        const double with_faults = options_.every * options_.faults;
        const double calm_seconds = std::max(6 * options_.step_seconds, std::min(with_faults, kLongestCalm));
        total_ = wall_seconds() - begin_ + calm_seconds + with_faults;
        const Stretch calm = measure(calm_seconds, false);
        print("without faults", calm);
        const Stretch faulty = measure(with_faults, true);
        print("with faults", faulty);
        wait_for("everybody to be back", kEndLimit, [this] { return swarm_.all_agree(); });
        return report(calm, faulty);
    }

  private:
    std::int64_t target() const {
        return static_cast<std::int64_t>(options_.step_seconds * kSamplesPerSecond * options_.peers);
    }

    ReplicaRun settings() const {
        ReplicaRun run{
            .name = "churn", .folder = options_.folder, .target_batch_size = target(), .bootstrap = {}};
        for (std::size_t i = 0; i < std::min<std::size_t>(lives_.size(), 4); ++i) run.bootstrap.push_back(i);
        return run;
    }

    /// A fresh peer on a machine.
    void start(std::size_t machine) {
        swarm_.start(machine, {.name = fmt::format("peer-{}-{}", machine + 1, ++lives_[machine]),
                               .speed = kSamplesPerSecond,
                               .micro_batch = kMicroBatch});
    }

    void look() {
        std::this_thread::sleep_for(kLook);  // it watches files that others write
        swarm_.update();
        line_.show(total_ > 0 ? std::min(1.0, (wall_seconds() - begin_) / total_) : 0,
                   fmt::format("step {}", swarm_.step()));
    }

    void wait_for(const std::string& what, double limit, const std::function<bool()>& met) {
        look_until(what, limit, swarm_.peers_folder(), [this] { look(); }, met);
        line_.clear();
    }

    SwarmSteps steps() const { return steps_of(swarm_.logs()); }
    /// When the newest step was taken.
    double swarm_last_step() const {
        const SwarmSteps taken = steps();
        return taken.empty() ? 0 : taken.rbegin()->second.time;
    }

    /// Seconds from the beginning, in the fault's own interval.
    double moment_of_a_fault(int number) {
        const double latest =
            std::max(0.0, 1 - options_.away / options_.every);  // it is over in its interval
        return options_.every * (number + latest * random_.uniform());
    }

    /// So many seconds from now on, and until the step under way at their end is taken.
    Stretch measure(double seconds, bool with_faults) {
        const double from = wall_seconds();
        double next_fault = from + moment_of_a_fault(0);
        int begun = 0;
        while (wall_seconds() < from + seconds) {
            look();
            for (Fault& fault : faults_)
                if (!fault.over && wall_seconds() > fault.at + options_.away) end(fault);
            if (with_faults && begun < options_.faults && wall_seconds() > next_fault) {
                strike(kFaults[static_cast<std::size_t>(begun) % kFaults.size()]);
                next_fault = from + moment_of_a_fault(++begun);
            }
        }
        for (Fault& fault : faults_)
            if (!fault.over) end(fault);
        const double to = from + seconds;
        while (swarm_last_step() <= to && wall_seconds() < to + kEndLimit) look();
        line_.clear();
        return stretch_within(steps(), from, to);
    }

    void strike(const std::string& kind) {
        std::vector<std::size_t> candidates;
        for (std::size_t machine = 0; machine < lives_.size(); ++machine) {
            const bool hurt = std::any_of(faults_.begin(), faults_.end(), [&](const Fault& fault) {
                return !fault.over && fault.machine == machine;
            });
            if (!hurt) candidates.push_back(machine);
        }
        if (candidates.empty()) return;
        const std::size_t machine = candidates[random_.below(candidates.size())];
        PeerProcess& victim = swarm_.at(machine).peer;
        if (kind == "kill") {
            swarm_.stop(machine, Departure::kill);
        } else if (kind == "freeze") {
            victim.process->signal(SIGSTOP);
        } else {
            lines_.set_plugged(machine, false);
        }
        faults_.push_back({kind, machine, wall_seconds()});
        line_.clear();
        fmt::print("{:>3}/{}  step {:>5}  {:<6} {}\n", faults_.size(), options_.faults, swarm_.step(), kind,
                   victim.name);
        std::fflush(stdout);
    }

    void end(Fault& fault) {
        fault.over = true;
        if (fault.kind == "kill")
            start(fault.machine);
        else if (fault.kind == "freeze")
            swarm_.at(fault.machine).peer.process->signal(SIGCONT);
        else
            lines_.set_plugged(fault.machine, true);
    }

    static void print(const std::string& what, const Stretch& stretch) {
        fmt::print("{}: {:.1f} steps in {:.0f} s, {:.2f} s a step, {:.1f} samples/s\n", what, stretch.steps,
                   stretch.seconds, stretch.seconds / std::max(1.0, stretch.steps),
                   stretch.samples_per_second());
        std::fflush(stdout);
    }

    int report(const Stretch& calm, const Stretch& faulty) {
        const double goodput =
            calm.samples_per_second() > 0 ? faulty.samples_per_second() / calm.samples_per_second() : 0;
        const auto taken = steps();
        const std::size_t different = disagreements(swarm_.logs());
        const double loss_first = taken.begin()->second.swarm_loss,
                     loss_last = taken.rbegin()->second.swarm_loss;
        fmt::print(
            "{} faults: goodput {:.1f} % of that without; parameters different at {} of {} steps; loss "
            "{:.4f} -> {:.4f}\n",
            faults_.size(), goodput * 100, different, taken.size(), loss_first, loss_last);
        run::Result result("lab churn", options_.result);
        result.json().update({{"peers", options_.peers},
                              {"faults", faults_.size()},
                              {"seconds_between_faults", options_.every},
                              {"seconds_away", options_.away},
                              {"target_batch_size", target()},
                              {"samples_per_second_calm", calm.samples_per_second()},
                              {"samples_per_second_with_faults", faulty.samples_per_second()},
                              {"steps_calm", calm.steps},
                              {"steps_with_faults", faulty.steps},
                              {"goodput", goodput},
                              {"loss_first", loss_first},
                              {"loss_last", loss_last}});
        const bool harder = options_.peers < kReportedPeers || options_.every < kReportedInterval;
        result.demand_at_least("goodput with faults, share of that without", goodput,
                               harder ? kDemandedOfHarderRuns : kDemandedGoodput);
        result.demand_at_most("steps with different parameters", static_cast<double>(different), 0);
        result.demand_at_least("faults", static_cast<double>(faults_.size()), options_.faults);
        result.demand("all that run hold the same parameters at the end", swarm_.all_agree());
        result.demand_at_most("last loss over the first", loss_last / loss_first, 1);
        draw(taken);
        return result.finish();
    }

    void draw(const SwarmSteps& taken) const {
        if (options_.result.plot.empty()) return;
        run::Picture picture{"Steps under churn", "minutes", "seconds a step", {}, {}};
        run::Curve curve{"seconds a step", {}, {}};
        std::optional<double> before;
        for (const auto& [step, line] : taken) {
            if (before) {
                curve.x.push_back((line.time - begin_) / 60);
                curve.y.push_back(line.time - *before);
            }
            before = line.time;
        }
        picture.curves.push_back(std::move(curve));
        for (const Fault& fault : faults_) picture.marks.push_back({(fault.at - begin_) / 60, fault.kind});
        run::draw(picture, options_.result.plot);
    }

    ChurnOptions options_;
    Random random_;
    ShapedLines lines_;
    std::vector<int> lives_;  // of each machine: peers that were started there
    std::vector<Fault> faults_;
    const double begin_ = wall_seconds();
    double total_ = 0;
    run::ProgressLine line_;
    ReplicaSwarm swarm_;  // last: end first
};

}  // namespace

void make_quick(ChurnOptions& options) {
    options.result.quick = true;
    options.peers = std::min(options.peers, 6);
    options.faults = std::min(options.faults, 3);
    options.step_seconds = 1;
    options.every = 6;
    options.away = 3;
}

int run_churn(const ChurnOptions& options) {
    return Churn(options).run();
}

}  // namespace shoal::lab
