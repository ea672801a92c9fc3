// A swarm of simulated training peers with a toy model whose true trajectory can be computed on one machine.
#pragma once

#include <cmath>
#include <cstring>
#include <gtest/gtest.h>
#include <limits>
#include <map>
#include <set>

#include "shoal/collective/training_peer.h"
#include "shoal/sim/world.h"

namespace shoal::collective::testing_support {

using namespace std::chrono_literals;

inline constexpr std::size_t kWidth = 100;
inline constexpr double kRate = 0.1, kMomentum = 0.5;

/// What one sample wants a parameter to be; in [-1, 1).
inline double wanted(std::uint64_t sample, std::size_t parameter) {
    const std::array<std::uint64_t, 2> key{sample, parameter};
    return static_cast<double>(fingerprint(as_bytes(std::span<const std::uint64_t>(key))).low >> 11) *
               0x1p-52 -
           1;
}

/// Which samples stood behind a peer's contribution to a step.
using Ledger = std::map<std::pair<PeerId, Step>, std::vector<std::uint64_t>>;

/// Gradient of a sample: parameter - wanted. Momentum SGD in float, with state sections as a real model has
/// them.
class ToyCompute final : public Compute {
  public:
    ToyCompute(const PeerId& self, Clock& clock, std::shared_ptr<Ledger> ledger, std::int64_t samples,
               Duration time, std::uint64_t first_sample)
        : self_(self),
          clock_(clock),
          ledger_(std::move(ledger)),
          samples_(samples),
          time_(time),
          next_sample_(first_sample) {}

    std::vector<float> parameters = std::vector<float>(kWidth, 0.5F),
                       momentum = std::vector<float>(kWidth, 0.0F);
    bool poison_next = false;        ///< the next contribution is not finite
    std::set<std::int64_t> skipped;  ///< steps whose average was not finite

    std::size_t gradient_elements() const override { return kWidth; }

    awaitable<MicroBatchResult> micro_batch() override {
        {
            const InUse now(busy_);
            co_await clock_.sleep_for(time_);
        }
        MicroBatchResult result;
        result.samples = static_cast<Samples>(samples_);
        result.seconds = seconds(time_);
        for (std::int64_t s = 0; s < samples_; ++s) {
            accumulated_.push_back(next_sample_);
            for (std::size_t i = 0; i < kWidth; ++i) {
                const double difference = parameters[i] - wanted(next_sample_, i);
                sum_[i] += difference;
                result.loss += difference * difference / (2.0 * static_cast<double>(samples_));
            }
            ++next_sample_;
        }
        co_return result;
    }

    awaitable<std::span<const float>> contribution() override {
        EXPECT_FALSE(busy_) << "two calls of Compute at a time";
        (*ledger_)[{self_, step_}] = accumulated_;
        mean_.resize(kWidth);
        for (std::size_t i = 0; i < kWidth; ++i)
            mean_[i] = static_cast<float>(sum_[i] / static_cast<double>(accumulated_.size()));
        if (std::exchange(poison_next, false)) mean_[3] = std::numeric_limits<float>::quiet_NaN();
        co_return mean_;
    }

    awaitable<bool> apply(Step from, std::span<const float> average) override {
        {
            const InUse now(busy_);
            co_await clock_.sleep_for(2ms);
        }
        EXPECT_EQ(from, step_);
        step_ = next(from);
        if (!std::all_of(average.begin(), average.end(), [](float f) { return std::isfinite(f); })) {
            skipped.insert(value(from));
            co_return false;
        }
        for (std::size_t i = 0; i < kWidth; ++i) {
            momentum[i] = static_cast<float>(kMomentum) * momentum[i] + average[i];
            parameters[i] -= static_cast<float>(kRate) * momentum[i];
        }
        discard();
        co_return true;
    }

    void discard() override {
        accumulated_.clear();
        sum_.fill(0);
    }

    awaitable<Fingerprint> digest() override { co_return fingerprint_now(); }
    Fingerprint fingerprint_now() const {
        const Fingerprint first = fingerprint(as_bytes(std::span<const float>(parameters)));
        return fingerprint(as_bytes(std::span<const float>(momentum)), first.low);
    }

    awaitable<StatePointer> snapshot(Step step) override {
        {
            const InUse now(busy_);
            co_await clock_.sleep_for(1ms);
        }
        EXPECT_EQ(step, step_);
        auto state = std::make_shared<State>();
        state->step = step;
        StateSection first, second;
        first.name = "parameters";
        first.values = parameters;
        second.name = "optimizer/momentum";
        second.values = momentum;
        state->sections.push_back(std::move(first));
        state->sections.push_back(std::move(second));
        co_return state;
    }

    awaitable<void> load(StatePointer state) override {
        EXPECT_FALSE(busy_) << "two calls of Compute at a time";
        if (state->sections.size() != 2 || state->sections[0].values.size() != kWidth ||
            state->sections[1].values.size() != kWidth)
            throw Error(ErrorKind::corrupted, "this state is of another model");
        parameters = state->sections[0].values;
        momentum = state->sections[1].values;
        step_ = state->step;
        discard();
        co_return;
    }

    awaitable<double> held_out_loss() override {
        constexpr std::int64_t kFirst = std::int64_t{1} << 50, kSamples = 16;
        double loss = 0;
        for (std::int64_t s = kFirst; s < kFirst + kSamples; ++s)
            for (std::size_t i = 0; i < kWidth; ++i) {
                const double difference = parameters[i] - wanted(s, i);
                loss += difference * difference / (2.0 * kSamples);
            }
        co_return loss;
    }

    void start_at(Step step) { step_ = step; }

  private:
    /// For the time of a call, also of one that is cancelled.
    class InUse {
      public:
        explicit InUse(bool& busy) : busy_(busy) {
            EXPECT_FALSE(busy_) << "two calls of Compute at a time";
            busy_ = true;
        }
        InUse(const InUse&) = delete;
        InUse& operator=(const InUse&) = delete;
        ~InUse() { busy_ = false; }

      private:
        bool& busy_;
    };

    PeerId self_;
    Clock& clock_;
    std::shared_ptr<Ledger> ledger_;
    std::int64_t samples_;
    Duration time_;
    std::uint64_t next_sample_;
    Step step_{};
    bool busy_ = false;
    std::vector<std::uint64_t> accumulated_;
    std::array<double, kWidth> sum_{};
    std::vector<float> mean_;
};

/// Remembers what happened to one peer.
struct Recorder final : TrainingObserver {
    explicit Recorder(Clock& c) : clock(c) {}
    Clock& clock;
    struct StepTaken {
        TimePoint when;
        Fingerprint digest;
        double loss = 0;
    };
    std::map<Step, StepTaken> steps;
    std::vector<std::pair<Step, Fingerprint>> history;  ///< every step, also one that it has taken twice
    std::map<Step, Verdict> averaged;
    std::vector<Verdict> others;
    std::vector<std::pair<ErrorKind, std::string>> troubles;
    std::vector<std::pair<TimePoint, Step>> synchronised;
    std::optional<TimePoint> first_micro_batch;
    int held_out = 0;

    void on_micro_batch(const MicroBatchResult&, const Progress&) override {
        if (!first_micro_batch) first_micro_batch = clock.now();
    }
    void on_round(Step step, const Verdict& verdict) override {
        if (verdict.outcome == Verdict::Outcome::averaged) {
            averaged[step] = verdict;
        } else {
            others.push_back(verdict);
        }
    }
    void on_step(Step step, double loss, double, double, const Fingerprint& digest) override {
        steps[step] = {clock.now(), digest, loss};
        history.emplace_back(step, digest);
    }
    void on_held_out_loss(Step, double) override { ++held_out; }
    void on_synchronised(Step step, const DownloadReport&) override {
        synchronised.emplace_back(clock.now(), step);
    }
    void on_trouble(ErrorKind kind, const std::string& text) override { troubles.emplace_back(kind, text); }
};

struct NodeOptions {
    Role role = Role::full;
    std::int64_t samples = 8;          ///< a micro-batch
    Duration time = 100ms;             ///< a micro-batch
    std::int64_t start = 0;            ///< step of the checkpoint it starts with
    const ToyCompute* from = nullptr;  ///< whose state is that checkpoint
    std::int64_t lead = 2;
    sim::HostSettings host{};
    /// Puts something between the peer and its network; such a peer counts as hostile.
    std::function<std::shared_ptr<net::Network>(std::shared_ptr<net::Network>)> between = {};
};

struct Node {
    sim::Peer peer;
    NodeOptions options;
    std::unique_ptr<ToyCompute> compute;
    std::shared_ptr<ProgressTracker> tracker;
    std::shared_ptr<Averager> averager;
    std::unique_ptr<Recorder> seen;
    std::shared_ptr<TrainingPeer> trainer;
    std::unique_ptr<TaskGroup> tasks;
    TimePoint started;
    bool finished = false, crashed = false;
    std::string failure;
};
using NodePointer = std::shared_ptr<Node>;

inline awaitable<void> run_node(NodePointer node) {
    try {
        co_await node->trainer->run(static_cast<Step>(node->options.start));
        node->finished = true;
    } catch (...) {
        if (is_cancellation(std::current_exception())) throw;
        node->failure = describe(std::current_exception());
    }
}

class Swarm {
  public:
    Swarm(std::uint64_t seed, std::int64_t target, std::int64_t last_step,
          sim::InternetSettings internet = {}, sim::DirectorySettings directory = {})
        : world(seed, internet, directory), target_(target), last_step_(last_step) {
        world.internet().on_crash([this](const PeerId& id) {
            for (const NodePointer& node : nodes)
                if (node->peer.id == id && !node->crashed) {
                    node->crashed = true;
                    node->tasks->cancel();
                }
        });
    }
    ~Swarm() {
        for (const NodePointer& node : nodes) node->tasks->cancel();
        try {
            world.simulation().run_for(5s);  // until all have left what they were in
        } catch (...) {
        }
        nodes.clear();
    }

    NodePointer add(NodeOptions options = {}) {
        if (options.role == Role::client) options.host.accept_connections = false;
        return start(world.add_peer(options.host), options);
    }
    NodePointer restart(const NodePointer& old, NodeOptions options = {}) {
        return start(world.restart(old->peer.key, options.host), options);
    }
    bool run_until(const std::function<bool()>& condition, Duration limit) {
        return world.simulation().run_until(condition, limit);
    }
    /// All that are alive have finished.
    bool finishes(Duration limit) {
        return run_until(
            [this] {
                return std::all_of(nodes.begin(), nodes.end(), [this](const NodePointer& node) {
                    return node->finished || node->crashed || world.internet().is_frozen(node->peer.id);
                });
            },
            limit);
    }
    void crash(const NodePointer& node) { world.internet().crash(node->peer.id); }

    /// Every step was taken with the same bits by all who took it, and nobody failed.
    void expect_identical() {
        std::map<Step, std::set<std::pair<std::uint64_t, std::uint64_t>>> digests;
        for (const NodePointer& node : nodes) {
            if (node->options.between) continue;
            EXPECT_EQ(node->failure, "");
            for (const auto& [step, taken] : node->seen->steps)
                digests[step].insert({taken.digest.low, taken.digest.high});
        }
        for (const auto& [step, values] : digests) EXPECT_EQ(values.size(), 1U) << "step " << value(step);
    }

    /// The nodes' parameters are those of one machine that is fed the same samples.
    void expect_equal_to_one_machine(std::int64_t from = 0, const ToyCompute* begin = nullptr) {
        std::vector<double> parameters(kWidth, 0.5), momentum(kWidth, 0.0);
        if (begin != nullptr) {
            parameters.assign(begin->parameters.begin(), begin->parameters.end());
            momentum.assign(begin->momentum.begin(), begin->momentum.end());
        }
        std::set<std::uint64_t> used;
        for (std::int64_t step = from; step < last_step_; ++step) {
            const std::vector<std::uint64_t> samples = samples_of(static_cast<Step>(step));
            ASSERT_FALSE(samples.empty()) << "nobody averaged step " << step;
            // Samples of a peer that is lost when its step is due are lost, too; then a batch may be smaller.
            if (!faults_expected) {
                EXPECT_GE(static_cast<std::int64_t>(samples.size()), target_) << "step " << step;
            }
            for (const std::uint64_t sample : samples)
                EXPECT_TRUE(used.insert(sample).second) << "a sample counted twice";
            for (std::size_t i = 0; i < kWidth; ++i) {
                double gradient = 0;
                for (const std::uint64_t sample : samples) gradient += parameters[i] - wanted(sample, i);
                momentum[i] = kMomentum * momentum[i] + gradient / static_cast<double>(samples.size());
                parameters[i] -= kRate * momentum[i];
            }
        }
        int compared = 0;
        for (const NodePointer& node : nodes) {
            if (!node->finished || !node->compute || node->options.between) continue;
            ++compared;
            for (std::size_t i = 0; i < kWidth; ++i)
                ASSERT_NEAR(node->compute->parameters[i], parameters[i], 1e-6);
        }
        EXPECT_GT(compared, 0);
    }

    /// Samples behind the average of a step, and a check that all members saw the same contributors.
    std::vector<std::uint64_t> samples_of(Step step) {
        std::vector<std::uint64_t> samples;
        const Verdict* first = nullptr;
        for (const NodePointer& node : nodes) {
            const auto found = node->seen->averaged.find(step);
            if (found == node->seen->averaged.end() || node->options.between) continue;
            const Verdict& verdict = found->second;
            if (first != nullptr) {
                EXPECT_EQ(verdict.digest, first->digest);
                EXPECT_EQ(verdict.contributors.size(), first->contributors.size());
                continue;
            }
            first = &verdict;
            for (const Contributor& member : verdict.contributors) {
                if (!(member.weight > 0)) continue;
                const auto& of_member = (*ledger)[{member.peer, step}];
                EXPECT_EQ(static_cast<double>(of_member.size()), member.weight);
                samples.insert(samples.end(), of_member.begin(), of_member.end());
            }
        }
        return samples;
    }

    std::int64_t highest_step() const {
        std::int64_t highest = 0;
        for (const NodePointer& node : nodes) highest = std::max(highest, value(node->trainer->step()));
        return highest;
    }

    sim::World world;
    std::vector<NodePointer> nodes;
    std::shared_ptr<Ledger> ledger = std::make_shared<Ledger>();
    Duration alone_after = 5s, lost_quorum_timeout = 30s;
    std::int64_t evaluate_every = 0;
    bool faults_expected = false;

  private:
    NodePointer start(sim::Peer peer, NodeOptions options) {
        auto node = std::make_shared<Node>(
            Node{std::move(peer), options, {}, {}, {}, {}, {}, {}, {}, false, false, {}});
        if (options.between) node->peer.network = options.between(node->peer.network);
        Clock& clock = *node->peer.clock;
        net::Network& network = *node->peer.network;
        node->started = clock.now();
        node->seen = std::make_unique<Recorder>(clock);
        node->tasks = std::make_unique<TaskGroup>(world.executor());
        if (options.role != Role::auxiliary) {
            const std::uint64_t first_sample = (nodes.size() + 1) << 32U;
            node->compute = std::make_unique<ToyCompute>(node->peer.id, clock, ledger, options.samples,
                                                         options.time, first_sample);
            node->compute->start_at(static_cast<Step>(options.start));
            if (options.from != nullptr) {
                node->compute->parameters = options.from->parameters;
                node->compute->momentum = options.from->momentum;
            }
        }
        ProgressSettings progress;
        progress.run = "toy";
        progress.target_batch_size = static_cast<Samples>(target_);
        progress.plausible_lead = options.lead;
        node->tracker = make_progress_tracker(network, *node->peer.directory, clock, progress, Log());
        AveragerSettings averaging;
        averaging.run = "toy";
        averaging.codec = "fp32";
        averaging.role = options.role;
        averaging.chunk_elements = 16;
        averaging.signer = std::make_shared<KeyPair>(node->peer.key);
        node->averager = make_averager(network, clock, node->peer.random.split(), averaging, Log());
        StateTransferSettings transfer;
        transfer.run = "toy";
        transfer.chunk_bytes = 128;
        TrainingSettings training;
        training.run = "toy";
        training.name = "node " + std::to_string(nodes.size());
        training.role = options.role;
        training.target_batch_size = static_cast<Samples>(target_);
        training.last_step = static_cast<Step>(last_step_);
        training.evaluate_every = evaluate_every;
        training.alone_after = alone_after;
        training.lost_quorum_timeout = lost_quorum_timeout;
        node->trainer = make_training_peer(network, clock, *node->averager, *node->tracker,
                                           node->compute.get(), transfer, training, *node->seen, Log());
        nodes.push_back(node);
        node->tasks->spawn(run_node(node));
        return node;
    }

    std::int64_t target_, last_step_;
};

}  // namespace shoal::collective::testing_support
