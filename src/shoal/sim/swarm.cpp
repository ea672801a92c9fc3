#include "shoal/sim/swarm.h"

#include <algorithm>
#include <limits>

#include "shoal/collective/swarm_rules.h"

namespace shoal::sim {

using namespace collective;

namespace {

awaitable<void> run_node(NodePointer node) {
    try {
        co_await node->trainer->run(static_cast<Step>(node->options.start));
        node->finished = true;
    } catch (...) {
        if (is_cancellation(std::current_exception())) throw;
        node->failure = describe(std::current_exception());
    }
}

}  // namespace

void Recorder::on_micro_batch(const MicroBatchResult&, const Progress&) {
    if (!first_micro_batch) first_micro_batch = clock.now();
}

void Recorder::on_round(Step step, const Verdict& verdict) {
    if (verdict.outcome == Verdict::Outcome::averaged) {
        averaged[step] = verdict;
    } else {
        failures.push_back({clock.now(), step, verdict});
    }
    if (after_round) after_round(step, verdict);
}

void Recorder::on_step(Step step, double loss, double, double, const Fingerprint& digest) {
    steps[step] = {clock.now(), digest, loss};
    history.emplace_back(step, digest);
    if (newest_step) *newest_step = std::max(*newest_step, value(step));
    if (after_step) after_step(step, digest);
}

void Recorder::on_synchronised(Step step, const DownloadReport&) {
    synchronised.emplace_back(clock.now(), step);
    if (after_other) after_other("has the state of step " + std::to_string(value(step)));
}

void Recorder::on_trouble(ErrorKind kind, const std::string& text) {
    troubles.emplace_back(kind, text);
    if (after_other) after_other(text);
}

Swarm::Swarm(std::uint64_t seed, SwarmSettings of_swarm, InternetSettings internet,
             DirectorySettings directory)
    : settings(std::move(of_swarm)), world(seed, internet, directory) {
    world.internet().on_crash([this](const PeerId& id) {
        for (const NodePointer& node : nodes)
            if (node->peer.id == id && !node->crashed) {
                node->crashed = true;
                node->tasks->cancel();
            }
    });
}

Swarm::~Swarm() {
    for (const NodePointer& node : nodes) {
        node->seen->after_round = {};
        node->seen->after_step = {};
        node->seen->after_other = {};
        node->tasks->cancel();
    }
    try {
        world.simulation().run_for(std::chrono::seconds(5));
    } catch (...) {  // what failed now is nobody's concern any more
    }
    nodes.clear();
}

NodePointer Swarm::add(NodeOptions options) {
    if (options.role == Role::client) options.host.accept_connections = false;
    return start(world.add_peer(options.host), options);
}

NodePointer Swarm::restart(const NodePointer& old, NodeOptions options) {
    if (options.role == Role::client) options.host.accept_connections = false;
    return start(world.restart(old->peer.key, options.host), options);
}

awaitable<void> Swarm::leave(NodePointer node) {
    node->tasks->cancel();
    co_await node->tracker->stop();
    if (!node->crashed) crash(node);
}

bool Swarm::finishes(Duration limit) {
    const auto ended = [this](const NodePointer& node) { return node->finished || !runs(node); };
    return run_until([&] { return std::all_of(nodes.begin(), nodes.end(), ended); }, limit);
}

bool Swarm::is_frozen(const NodePointer& node) {
    return !node->crashed && world.internet().is_frozen(node->peer.id);
}

std::int64_t Swarm::highest_step() const {
    std::int64_t highest = 0;
    for (const NodePointer& node : nodes) highest = std::max(highest, value(node->trainer->step()));
    return highest;
}

std::int64_t Swarm::lowest_step() const {
    std::int64_t lowest = std::numeric_limits<std::int64_t>::max();
    for (const NodePointer& node : nodes)
        if (!node->crashed && node->options.role != Role::auxiliary)
            lowest = std::min(lowest, value(node->trainer->step()));
    return lowest;
}

std::unique_ptr<QuadraticCompute> Swarm::make_compute(Node& node) {
    const NodeOptions& options = node.options;
    QuadraticSettings problem;
    problem.width = settings.parameters;
    problem.samples = options.samples;
    problem.time = options.time;
    problem.time_jitter = options.time_jitter;
    problem.first_sample = (nodes.size() + 1) << 32U;
    problem.rate = settings.learning_rate;
    auto compute = std::make_unique<QuadraticCompute>(node.peer.id, *node.peer.clock,
                                                      node.peer.random.split(), ledger, violations, problem);
    compute->start_at(static_cast<Step>(options.start));
    if (settings.spread > 0) {
        Random random(problem.first_sample ^ world.simulation().random().next());
        for (float& parameter : compute->parameters)
            parameter += static_cast<float>(settings.spread * random.normal());
    }
    if (options.from != nullptr) {
        compute->parameters = options.from->parameters;
        compute->momentum = options.from->momentum;
    }
    return compute;
}

std::shared_ptr<TrainingPeer> Swarm::make_trainer(Node& node) {
    StateTransferSettings transfer;
    transfer.run = kSimulatedRun;
    transfer.chunk_bytes = settings.state_chunk_bytes;
    TrainingSettings training;
    training.run = kSimulatedRun;
    training.name = "node " + std::to_string(nodes.size());
    training.role = node.options.role;
    training.target_batch_size = static_cast<Samples>(settings.target_batch_size);
    training.last_step = static_cast<Step>(settings.last_step);
    training.evaluate_every = settings.evaluate_every;
    training.delayed = settings.delayed;
    training.choose_roles = settings.choose_roles;
    training.alone_after = settings.alone_after;
    training.lost_quorum_timeout = settings.lost_quorum_timeout;
    training.in_groups = settings.group_size > 0;
    Compute* compute = node.compute.get();
    if (training.in_groups) {
        auto measure = [this, &node](Step from, std::span<const float> own, std::span<const float> mean) {
            const auto& members = node.seen->averaged.at(from).contributors;
            const bool counts = std::any_of(members.begin(), members.end(), [&node](const auto& member) {
                return member.peer == node.peer.id && member.state_counts;
            });
            spread.add(from, own, mean, counts);
        };
        node.in_groups = std::make_unique<GroupCompute>(*node.compute, static_cast<Step>(node.options.start),
                                                        std::move(measure));
        compute = node.in_groups.get();
    }
    return make_training_peer(*node.peer.network, *node.peer.clock, *node.averager, *node.tracker, compute,
                              transfer, training, *node.seen, Log());
}

NodePointer Swarm::start(Peer peer, const NodeOptions& options) {
    auto node = std::make_shared<Node>(
        Node{std::move(peer), options, {}, {}, {}, {}, {}, {}, {}, {}, false, false, {}});
    if (options.between) node->peer.network = options.between(node->peer.network);
    Clock& clock = *node->peer.clock;
    node->started = clock.now();
    node->seen = std::make_unique<Recorder>(clock);
    node->seen->newest_step = newest_step;
    node->tasks = std::make_unique<TaskGroup>(world.executor());
    if (options.role != Role::auxiliary) node->compute = make_compute(*node);
    ProgressSettings progress;
    progress.run = kSimulatedRun;
    progress.delayed = settings.delayed;
    progress.adaptive_quorum = settings.adaptive_quorum;
    progress.group_size = settings.group_size;
    progress.target_batch_size = static_cast<Samples>(settings.target_batch_size);
    node->tracker = make_progress_tracker(*node->peer.network, *node->peer.directory, clock, progress, Log());
    AveragerSettings averaging;
    averaging.run = kSimulatedRun;
    averaging.codec = settings.codec;
    averaging.role = options.role;
    averaging.upload = options.upload_bandwidth;
    averaging.download = options.download_bandwidth;
    averaging.chunk_elements = settings.chunk_elements;
    averaging.maximum_group = settings.maximum_group;
    averaging.maximum_weight = maximum_weight(progress.target_batch_size);
    averaging.plausible_weight = plausible_weight_by(node->tracker);
    averaging.signer = std::make_shared<KeyPair>(node->peer.key);
    node->averager = make_averager(*node->peer.network, clock, node->peer.random.split(), averaging, Log());
    node->trainer = make_trainer(*node);
    nodes.push_back(node);
    node->tasks->spawn(run_node(node));
    return node;
}

}  // namespace shoal::sim
