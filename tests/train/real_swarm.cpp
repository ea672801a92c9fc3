#include "train/real_swarm.h"

#include "data/sample_text.h"

#include <exception>
#include <gtest/gtest.h>
#include <numeric>
#include <thread>
#include <unistd.h>

#include "shoal/collective/group_compute.h"
#include "shoal/optim/local_compute.h"
#include "shoal/run/node.h"
#include "shoal/train/settings.h"

namespace shoal::train::testing_support {

namespace {

/// Notes what a peer does; runs on the peer's protocol thread.
class Recorder final : public collective::TrainingObserver {
  public:
    Recorder(PeerTrace& trace, const ModelSource& source) : trace_(trace), source_(source) {}

    void on_micro_batch(const collective::MicroBatchResult& result, const collective::Progress&) override {
        if (!result.dropped) collected_.push_back(source_.last_place());
    }
    void on_round(Step step, const collective::Verdict& verdict) override {
        if (verdict.outcome == collective::Verdict::Outcome::averaged)
            trace_.members[value(step) + 1] = verdict.contributors.size();
        if (verdict.outcome != collective::Verdict::Outcome::averaged) return;
        double weight = 0;
        for (const auto& contributor : verdict.contributors)
            if (contributor.peer == trace_.peer) weight = contributor.weight;
        if (weight > 0) trace_.used[value(next(step))] = collected_;
        collected_.clear();
    }
    void on_step(Step step, double, double swarm_loss, double, const Fingerprint& digest) override {
        trace_.swarm_loss[value(step)] = swarm_loss;
        trace_.digests[value(step)] = digest.hex();
    }
    void on_synchronised(Step, const collective::DownloadReport&) override { collected_.clear(); }
    void on_trouble(ErrorKind, const std::string& text) override { trace_.troubles.push_back(text); }

  private:
    PeerTrace& trace_;
    const ModelSource& source_;
    std::vector<MicroBatchPlace> collected_;
};

/// One peer on a thread of its own.
class SwarmPeer {
  public:
    explicit SwarmPeer(run::RunDefinition definition)
        : definition_(std::move(definition)),
          node_(definition_, options()),
          source_(make_model_source(definition_, node_.id())) {
        optimizer_ = optim::make_optimizer(optimizer_settings(definition_), source_->layout());
        trace.peer = node_.id();
    }

    std::uint16_t port() const { return node_.port(); }

    void start() {
        thread_ = std::thread([this] {
            try {
                node_.run([this](run::Node& node) { return train(node); });
            } catch (...) {
                failure = std::current_exception();
            }
        });
    }
    void join() { thread_.join(); }

    PeerTrace trace;
    std::exception_ptr failure;

  private:
    static run::NodeOptions options() {
        run::NodeOptions options;
        options.purpose = run::Purpose::training;
        return options;
    }

    awaitable<void> train(run::Node& node) {
        optim::LocalComputeSettings settings;
        settings.clip_gradient_norm = definition_.optimizer.clip_gradient_norm;
        settings.load = definition_.peer.load;
        settings.local_updates = local_update_settings(definition_);
        settings.niceness = 0;
        optim::LocalCompute compute(*source_, *optimizer_, schedule_settings(definition_), node.clock(),
                                    settings);
        Recorder recorder(trace, *source_);
        const auto of_training = node.training_settings();
        collective::GroupCompute in_groups(compute);
        collective::Compute* of_peer = &compute;
        if (of_training.in_groups) of_peer = &in_groups;
        const auto peer = collective::make_training_peer(node.network(), node.clock(), node.averager(),
                                                         node.progress(), of_peer, node.transfer_settings(),
                                                         of_training, recorder, node.log());
        const Step start{};
        co_await peer->run(start);
        const auto parameters = source_->parameters();
        trace.parameters.assign(parameters.begin(), parameters.end());
    }

    run::RunDefinition definition_;
    run::Node node_;
    std::unique_ptr<ModelSource> source_;
    std::unique_ptr<optim::Optimizer> optimizer_;
    std::thread thread_;
};

}  // namespace

std::vector<PeerTrace> train_swarm(const SwarmPlan& plan) {
    std::vector<std::unique_ptr<SwarmPeer>> peers;
    for (std::size_t i = 0; i < plan.loads.size(); ++i) {
        run::RunDefinition definition = plan.definition;
        definition.peer.name = "peer-" + std::to_string(i);
        definition.peer.folder = plan.folder / definition.peer.name;
        definition.peer.load = plan.loads[i];
        if (i > 0) definition.network.bootstrap = {"127.0.0.1:" + std::to_string(peers[0]->port())};
        peers.push_back(std::make_unique<SwarmPeer>(definition));
    }
    for (auto& peer : peers) peer->start();
    for (auto& peer : peers) peer->join();
    std::vector<PeerTrace> traces;
    for (auto& peer : peers) {
        if (peer->failure) std::rethrow_exception(peer->failure);
        traces.push_back(std::move(peer->trace));
    }
    return traces;
}

Replay replay(const run::RunDefinition& definition, const std::vector<PeerTrace>& traces) {
    std::vector<std::unique_ptr<data::Dataset>> streams;
    for (const auto& trace : traces)
        streams.push_back(data::make_dataset(dataset_settings(definition), trace.peer));
    const auto model = nn::make_model(model_settings(definition, streams[0]->shape()));
    ModelSource names(nn::make_model(model_settings(definition, streams[0]->shape())),
                      data::make_dataset(dataset_settings(definition), traces[0].peer), 1);
    const auto optimizer = optim::make_optimizer(optimizer_settings(definition), names.layout());
    Replay result;
    std::vector<float> gradient(model->size());
    for (std::int64_t step = 1; step <= definition.run.steps; ++step) {
        model->zero_gradients();
        double loss_sum = 0, samples = 0;
        for (std::size_t peer = 0; peer < traces.size(); ++peer) {
            const auto used = traces[peer].used.find(step);
            if (used == traces[peer].used.end()) continue;
            for (const auto& place : used->second) {
                streams[peer]->seek(place.first);
                loss_sum += model->forward_backward(streams[peer]->next(place.samples)) *
                            static_cast<double>(place.samples);
                samples += static_cast<double>(place.samples);
            }
        }
        result.loss[step] = loss_sum / samples;
        model->read_mean_gradient(gradient);
        if (definition.optimizer.clip_gradient_norm > 0)
            optim::clip_gradient_norm(gradient, definition.optimizer.clip_gradient_norm);
        const auto from = static_cast<Step>(step - 1);
        optimizer->step(from, model->values(), gradient,
                        optim::learning_rate(schedule_settings(definition), from));
    }
    result.parameters.assign(model->values().begin(), model->values().end());
    return result;
}

std::filesystem::path fresh_folder(const std::string& name) {
    static int counter = 0;
    const auto folder =
        std::filesystem::path(::testing::TempDir()) /
        ("shoal_train_" + std::to_string(::getpid()) + "_" + std::to_string(counter++) + "_" + name);
    std::filesystem::remove_all(folder);
    std::filesystem::create_directories(folder);
    return folder;
}

namespace {

run::RunDefinition common_run() {
    run::RunDefinition definition;
    definition.run.name = "equivalence-" + std::to_string(::getpid());
    definition.run.target_batch_size = 48;
    definition.run.steps = 20;
    definition.data.micro_batch_size = 4;
    definition.averaging.codec = "fp32";
    definition.network.listen_host = "127.0.0.1";
    definition.peer.threads = 1;
    definition.checkpoints.every = 0;
    definition.schedule.kind = "constant";
    return definition;
}

}  // namespace

run::RunDefinition convnet_run() {
    run::RunDefinition definition = common_run();
    definition.model.kind = "convnet";
    definition.data.kind = "fashion-mnist";
    definition.optimizer.name = "sgd";
    definition.optimizer.weight_decay = 0.0001;
    definition.schedule.learning_rate = 0.01;  // small: at a large rate rounding errors grow with every step
    return definition;
}

run::RunDefinition albert_run(const std::filesystem::path& folder) {
    run::RunDefinition definition = common_run();
    definition.model.kind = "albert";
    definition.data.kind = "text";
    definition.data.path = folder / "text.txt";
    definition.data.vocabulary = folder / "vocabulary.model";
    definition.data.sequence_length = 48;
    data::testing_support::write_text(definition.data.path, data::testing_support::sample_text());
    data::train_vocabulary(definition.data.path, 800, definition.data.vocabulary);
    definition.optimizer.name = "lamb";
    definition.schedule.learning_rate = 0.005;
    return definition;
}

}  // namespace shoal::train::testing_support
