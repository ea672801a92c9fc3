#include "shoal/run/node.h"

#include <algorithm>
#include <asio/bind_cancellation_slot.hpp>
#include <asio/cancellation_signal.hpp>
#include <asio/co_spawn.hpp>
#include <asio/signal_set.hpp>
#include <csignal>
#include <optional>
#include <utility>

#include "shoal/base/async.h"
#include "shoal/collective/swarm_rules.h"
#include "shoal/run/folder.h"
#include "shoal/run/open_directory.h"
#include "shoal/run/probes.h"

namespace shoal::run {

using namespace std::chrono_literals;

namespace {

constexpr double kBytesPerMegabit = 125'000;
constexpr Duration kMaximumGoodbye = 5s;
/// How often a newcomer asks for the speed of its line, for how long each way, and how long that may take.
constexpr int kLineProbes = 5;
constexpr Duration kLineProbe = 300ms, kLineProbeDeadline = 10s, kLineProbePause = 2s;
/// What a peer says when it ends in order (net/tcp_node.cpp).
constexpr const char* kGoodbye = "the peer shuts down";
/// Until it is said that no bootstrap address answers, and from then on.
constexpr Duration kFirstReminder = 10s, kNextReminder = 60s;

/// The folder, unless nobody shall know that this peer ever was.
std::optional<PeerFolder> open_folder(const RunDefinition& definition, const NodeOptions& options) {
    if (options.observer) return std::nullopt;
    return PeerFolder(definition.peer_folder());
}

net::NetworkSettings network_settings(const RunDefinition& definition, const NodeOptions& options,
                                      const net::AgreedSettings& agreed) {
    net::NetworkSettings settings;
    settings.accept_connections = !options.observer && !definition.network.client_mode;
    settings.listen_host = definition.network.listen_host;
    settings.listen_port = static_cast<std::uint16_t>(definition.network.listen_port);
    settings.agreed = agreed;
    settings.maximum_unread = static_cast<std::size_t>(definition.network.maximum_unread) << 20;
    settings.far_connections = static_cast<std::size_t>(definition.network.far_connections);
    settings.dial_timeout = from_seconds(definition.network.dial_timeout);
    settings.peer_timeout = from_seconds(definition.network.peer_timeout);
    settings.ping_interval = std::min(settings.ping_interval, settings.peer_timeout / 4);
    return settings;
}

std::vector<net::Endpoint> parse_endpoints(const std::vector<std::string>& texts) {
    std::vector<net::Endpoint> endpoints;
    for (const std::string& text : texts) endpoints.push_back(net::Endpoint::parse(text));
    return endpoints;
}

/// One way of this peer's line, as the run file has it; 0 if it does not.
double bytes_per_second(double one_way, double both_ways) {
    const double megabits = one_way > 0 ? one_way : both_ways;
    return megabits > 0 ? std::max(megabits * kBytesPerMegabit, collective::kMinimumBandwidth) : 0;
}

net::AgreedSettings settings_to_compare(const RunDefinition& definition, const NodeOptions& options) {
    const bool compares = options.purpose != Purpose::meeting || options.of_one_run;
    return compares ? agreed_settings(definition) : net::AgreedSettings();
}

collective::Role role_of(const RunDefinition& definition, Purpose purpose) {
    if (purpose == Purpose::averaging) return collective::Role::auxiliary;
    return definition.network.client_mode ? collective::Role::client : collective::Role::full;
}

}  // namespace

/// In the order of construction; destroyed from the end. The io_context is first: what the others leave in it
/// is destroyed with it, when nothing can run any more.
struct Node::Parts {
    Parts(RunDefinition definition_, NodeOptions options_)
        : definition(std::move(definition_)),
          options(std::move(options_)),
          folder(open_folder(definition, options)),
          key(options.observer ? KeyPair::generate() : KeyPair::load_or_create(definition.key_file())),
          id(key.peer_id()),
          name(definition.peer.name.empty() ? id.short_name() : definition.peer.name),
          agreed(settings_to_compare(definition, options)),
          io(1),
          signals(io),
          random(Random::from_entropy()),
          metrics(folder ? folder->metrics_file() : std::filesystem::path(), clock, options.log),
          tasks(io.get_executor()) {}

    /// A connection has come up, or the last one to a peer has ended.
    void tell_of(const PeerId& peer, bool connected, const std::string& cause) {
        const std::string who = "peer " + peer.short_name();
        const bool named = cause.starts_with(who);  // errors of the network name the peer as a rule
        const bool left = cause.find(kGoodbye) != std::string::npos;
        options.log.info(connected ? who + " connected"
                         : left    ? who + " left"
                         : named   ? cause
                                   : who + ": " + cause);
        Metrics::Fields fields;
        fields.emplace_back("peer", peer.short_name());
        fields.emplace_back("state", connected ? "connected" : left ? "left" : "lost");
        if (!connected) fields.emplace_back("cause", cause);
        metrics.note("peer", fields);
    }

    RunDefinition definition;
    NodeOptions options;
    RealClock clock;
    std::optional<PeerFolder> folder;
    KeyPair key;
    PeerId id;
    std::string name;
    net::AgreedSettings agreed;

    asio::io_context io;
    asio::signal_set signals;
    asio::cancellation_signal cancelling;
    bool stopping = false;

    Random random;
    Metrics metrics;
    std::unique_ptr<MetricsServer> metrics_server;
    std::shared_ptr<net::Network> network;
    std::unique_ptr<DirectoryOwner> directory;
    std::shared_ptr<void> probes;
    std::unique_ptr<Bootstrap> bootstrap;
    std::unique_ptr<Membership> membership;  ///< nothing for the purpose `meeting`
    std::shared_ptr<collective::ProgressTracker> progress;
    std::shared_ptr<collective::Averager> averager;
    std::exception_ptr work_failure;
    TaskGroup tasks;
    std::shared_ptr<void> observing;
};

Node::Node(RunDefinition definition, NodeOptions options)
    : parts_(std::make_unique<Parts>(std::move(definition), std::move(options))) {
    Parts& p = *parts_;
    const RunDefinition& d = p.definition;
    const auto executor = p.io.get_executor();
    p.network = net::make_tcp_network(executor, p.clock, p.key, network_settings(d, p.options, p.agreed),
                                      p.options.log);
    p.directory =
        std::make_unique<DirectoryOwner>(p.network, p.clock, p.key, d, p.options.observer, p.options.log);
    p.bootstrap = std::make_unique<Bootstrap>(*p.network, p.clock, p.random.split(),
                                              parse_endpoints(d.network.bootstrap), p.options.log);
    if (!p.options.observer && d.peer.metrics_port >= 0)
        p.metrics_server = std::make_unique<MetricsServer>(
            d.peer.metrics_host, static_cast<std::uint16_t>(d.peer.metrics_port),
            [table = &p.metrics.table()] { return table->text(); });
    if (p.options.purpose == Purpose::meeting) return;

    collective::ProgressSettings progress;
    progress.run = d.run.name;
    progress.target_batch_size = static_cast<Samples>(d.run.target_batch_size);
    progress.delayed = d.averaging.delayed;
    progress.adaptive_quorum = d.averaging.adaptive_quorum;
    progress.group_size = static_cast<std::size_t>(d.averaging.group_size);
    p.membership = std::make_unique<Membership>(*p.network, p.clock, d.run.name, p.options.log);
    p.progress = collective::make_progress_tracker(p.membership->network(), p.directory->get(), p.clock,
                                                   std::move(progress), p.options.log);
    p.membership->watch(*p.progress);
    collective::AveragerSettings averaging;
    averaging.run = d.run.name;
    averaging.codec = d.averaging.codec;
    averaging.small_codec = d.averaging.small_codec;
    averaging.small_below = static_cast<std::size_t>(d.averaging.small_below);
    if (d.averaging.group_size > 0 && averaging.small_codec.empty()) {
        averaging.small_codec = "fp32";  // of the parameters, which travel behind the gradient
        averaging.small_below = 2;
    }
    averaging.role = role();
    averaging.maximum_weight = collective::maximum_weight(static_cast<Samples>(d.run.target_batch_size));
    averaging.plausible_weight = collective::plausible_weight_by(p.progress);
    averaging.signer = std::make_shared<KeyPair>(p.key);
    averaging.upload = bytes_per_second(d.averaging.upload, d.averaging.bandwidth);
    averaging.download = bytes_per_second(d.averaging.download, d.averaging.bandwidth);
    averaging.chunk_elements = static_cast<std::size_t>(d.averaging.chunk_elements);
    averaging.maximum_group = static_cast<std::size_t>(d.averaging.maximum_group);
    averaging.join_timeout = from_seconds(d.averaging.join_timeout);
    averaging.stall_timeout = from_seconds(d.averaging.stall_timeout);
    averaging.paced = averaging.upload > 0 && averaging.download > 0;
    averaging.probe = p.options.probe;
    p.averager = collective::make_averager(p.membership->network(), p.clock, p.random.split(),
                                           std::move(averaging), p.options.log);
}

Node::~Node() = default;

bool Node::run(std::function<awaitable<void>(Node&)> work) {
    Parts& p = *parts_;
    std::exception_ptr failure;
    p.signals.add(SIGINT);
    p.signals.add(SIGTERM);
    // The handler of signals re-arms itself; a second signal leaves without goodbye.
    std::function<void(std::error_code, int)> on_signal = [&](std::error_code error, int) {
        if (error) return;
        if (p.stopping) {
            p.io.stop();
            return;
        }
        request_stop();
        p.signals.async_wait(on_signal);
    };
    p.signals.async_wait(on_signal);
    asio::co_spawn(p.io, live(std::move(work)),
                   asio::bind_cancellation_slot(p.cancelling.slot(), [&](std::exception_ptr error) {
                       failure = std::move(error);
                       p.io.stop();
                   }));
    p.io.run();
    if (failure && !(p.stopping && is_cancellation(failure))) std::rethrow_exception(failure);
    return !p.stopping;
}

void Node::request_stop() {
    asio::post(parts_->io, [this] {
        parts_->stopping = true;
        parts_->cancelling.emit(asio::cancellation_type::all);
    });
}

awaitable<void> Node::live(std::function<awaitable<void>(Node&)> work) {
    std::exception_ptr failure;
    try {
        co_await start();
        if (parts_->membership)
            co_await take_part(std::move(work));
        else
            co_await work(*this);
    } catch (...) {
        failure = std::current_exception();
    }
    // Whatever cancelled the work must not cancel the goodbye.
    co_await asio::this_coro::reset_cancellation_state(asio::enable_terminal_cancellation());
    try {
        const TimePoint deadline = parts_->clock.now() + kMaximumGoodbye;
        awaitable<void> stopping = stop();
        co_await with_deadline(parts_->clock, deadline, std::move(stopping), "saying goodbye");
    } catch (const Error& error) {
        parts_->options.log.warning(error.what());
    }
    if (failure) std::rethrow_exception(failure);
}

/// Whoever was told where the others are must not begin a run of its own because they are slow to answer.
awaitable<void> Node::meet() {
    Parts& p = *parts_;
    Duration patience = kFirstReminder;
    while (!p.bootstrap->met()) {
        awaitable<void> meeting = p.bootstrap->until_met();
        const bool met =
            co_await shoal::detail::ends_in_time(p.clock, p.clock.now() + patience, std::move(meeting));
        if (met) break;
        const std::string causes = p.bootstrap->causes();
        p.options.log.warning("waiting for a bootstrap address: " +
                              (causes.empty() ? std::string("none has answered so far") : causes));
        patience = kNextReminder;
    }
}

awaitable<void> Node::work_to_end(std::function<awaitable<void>(Node&)> work) {
    try {
        co_await work(*this);
    } catch (...) {
        parts_->work_failure = std::current_exception();
    }
    parts_->membership->end();
    if (parts_->work_failure) std::rethrow_exception(parts_->work_failure);
}

awaitable<void> Node::take_part(std::function<awaitable<void>(Node&)> work) {
    co_await meet();
    if (parts_->averager && !parts_->options.observer) parts_->tasks.spawn(probe_line());
    TaskGroup both(parts_->io.get_executor());
    both.spawn(work_to_end(std::move(work)));
    both.spawn(parts_->membership->until_refused());
    try {
        co_await both.join();
    } catch (...) {
        // After a signal a join tells of the cancellation only; what went wrong on the way out counts more.
        const std::exception_ptr failure = parts_->work_failure;
        if (failure && !is_cancellation(failure)) std::rethrow_exception(failure);
        throw;
    }
}

awaitable<void> Node::start() {
    Parts& p = *parts_;
    if (!p.options.observer) {
        ProbeSettings probes;
        probes.run = p.definition.run.name;
        probes.name = p.name;
        p.probes = serve_probes(*p.network, p.clock, std::move(probes), p.options.log);
        p.observing = p.network->observe([&p](const PeerId& peer, bool connected, const std::string& cause) {
            p.tell_of(peer, connected, cause);
        });
        Metrics::Fields fields;
        fields.emplace_back("run", p.definition.run.name);
        fields.emplace_back("name", p.name);
        fields.emplace_back("peer", p.id.hex());
        fields.emplace_back("role", std::string(to_string(role())));
        fields.emplace_back("port", std::int64_t{port()});
        fields.emplace_back("metrics_port", std::int64_t{metrics_port()});
        p.metrics.note("started", fields);
    }
    p.bootstrap->start();
    co_await p.directory->start();
    if (p.progress) co_await p.progress->start();
    if (!p.options.observer) p.tasks.spawn(feed_metrics());
}

awaitable<void> Node::stop() {
    Parts& p = *parts_;
    p.tasks.cancel();
    co_await p.tasks.settle();
    co_await p.bootstrap->stop();
    if (p.progress) co_await p.progress->stop();
    co_await p.directory->stop();
    p.probes.reset();
    p.observing.reset();
    if (!p.options.observer) {
        const Metrics::Fields nothing;
        p.metrics.note("stopped", nothing);
    }
    co_await net::shut_down(p.network);
}

/// A newcomer asks one peer after the other how fast its line is, so that its first share is no guess. Later
/// rounds tell more.
awaitable<void> Node::probe_line() {
    Parts& p = *parts_;
    const auto known = [&p] { return p.averager->upload() > 0 && p.averager->download() > 0; };
    for (int attempt = 0; attempt < kLineProbes && !known(); ++attempt) {
        const std::vector<net::ConnectionInfo> connections = p.network->connections();
        if (!connections.empty()) {
            const PeerId peer = connections[p.random.below(connections.size())].peer;
            try {
                const TimePoint deadline = p.clock.now() + kLineProbeDeadline;
                const Bandwidth found =
                    co_await measure_bandwidth(*p.network, p.clock, peer, kLineProbe, deadline);
                p.averager->observe_line(found.up, found.down);
            } catch (const Error& error) {
                if (error.kind() == ErrorKind::cancelled) throw;
                p.options.log.debug(std::string("no measure of the line: ") + error.what());
            }
        }
        co_await p.clock.sleep_for(kLineProbePause);
    }
}

awaitable<void> Node::feed_metrics() {
    Parts& p = *parts_;
    for (;;) {
        p.metrics.update_network(p.network->connections());
        if (p.progress) p.metrics.update_swarm(p.progress->view());
        co_await p.clock.sleep_for(1s);
    }
}

const RunDefinition& Node::definition() const {
    return parts_->definition;
}

const PeerId& Node::id() const {
    return parts_->id;
}

const KeyPair& Node::key() const {
    return parts_->key;
}

const std::string& Node::name() const {
    return parts_->name;
}

collective::Role Node::role() const {
    return role_of(parts_->definition, parts_->options.purpose);
}

std::uint16_t Node::port() const {
    return net::listen_port(*parts_->network);
}

std::uint16_t Node::metrics_port() const {
    return parts_->metrics_server ? parts_->metrics_server->port() : 0;
}

Log Node::log() const {
    return parts_->options.log;
}

asio::any_io_executor Node::executor() {
    return parts_->io.get_executor();
}

Clock& Node::clock() {
    return parts_->clock;
}

net::Network& Node::network() {
    return parts_->membership ? parts_->membership->network() : *parts_->network;
}

dht::Directory& Node::directory() {
    return parts_->directory->get();
}

Bootstrap& Node::bootstrap() {
    return *parts_->bootstrap;
}

Metrics& Node::metrics() {
    return parts_->metrics;
}

collective::ProgressTracker& Node::progress() {
    if (!parts_->progress) throw Error(ErrorKind::invalid_argument, "this peer takes part in no run");
    return *parts_->progress;
}

collective::Averager& Node::averager() {
    if (!parts_->averager) throw Error(ErrorKind::invalid_argument, "this peer takes part in no run");
    return *parts_->averager;
}

Membership& Node::membership() {
    if (!parts_->membership) throw Error(ErrorKind::invalid_argument, "this peer takes part in no run");
    return *parts_->membership;
}

collective::TrainingSettings Node::training_settings() const {
    const RunDefinition& d = parts_->definition;
    collective::TrainingSettings settings;
    settings.run = d.run.name;
    settings.name = parts_->name;
    settings.role = role();
    settings.target_batch_size = static_cast<Samples>(d.run.target_batch_size);
    settings.last_step = static_cast<Step>(d.run.steps);
    settings.evaluate_every = d.run.evaluate_every;
    settings.delayed = d.averaging.delayed;
    settings.choose_roles = d.averaging.choose_roles;
    settings.in_groups = d.averaging.group_size > 0;
    settings.alone_after = from_seconds(d.averaging.alone_after);
    settings.lost_quorum_timeout = from_seconds(d.averaging.lost_quorum_timeout);
    settings.probe = parts_->options.probe;
    return settings;
}

collective::StateTransferSettings Node::transfer_settings() const {
    const RunDefinition& d = parts_->definition;
    collective::StateTransferSettings settings;
    settings.run = d.run.name;
    settings.codec = d.averaging.state_codec;
    settings.stall_timeout = from_seconds(d.averaging.stall_timeout);
    settings.probe = parts_->options.probe;
    return settings;
}

const net::AgreedSettings& Node::agreed() const {
    return parts_->agreed;
}

}  // namespace shoal::run
