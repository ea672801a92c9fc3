#include "shoal/run/node.h"

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
          agreed(options.purpose == Purpose::meeting ? net::AgreedSettings() : agreed_settings(definition)),
          io(1),
          signals(io),
          random(Random::from_entropy()),
          metrics(folder ? folder->metrics_file() : std::filesystem::path(), clock, options.log),
          tasks(io.get_executor()) {}

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
    std::shared_ptr<collective::ProgressTracker> progress;
    std::shared_ptr<collective::Averager> averager;
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
    p.progress = collective::make_progress_tracker(*p.network, p.directory->get(), p.clock,
                                                   std::move(progress), p.options.log);
    collective::AveragerSettings averaging;
    averaging.run = d.run.name;
    averaging.codec = d.averaging.codec;
    averaging.role = role();
    averaging.maximum_weight = collective::maximum_weight(static_cast<Samples>(d.run.target_batch_size));
    averaging.plausible_weight = collective::plausible_weight_by(p.progress);
    averaging.signer = std::make_shared<KeyPair>(p.key);
    averaging.bandwidth = d.averaging.bandwidth * kBytesPerMegabit;
    averaging.chunk_elements = static_cast<std::size_t>(d.averaging.chunk_elements);
    averaging.maximum_group = static_cast<std::size_t>(d.averaging.maximum_group);
    averaging.join_timeout = from_seconds(d.averaging.join_timeout);
    averaging.stall_timeout = from_seconds(d.averaging.stall_timeout);
    averaging.probe = p.options.probe;
    p.averager =
        collective::make_averager(*p.network, p.clock, p.random.split(), std::move(averaging), p.options.log);
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
        // Whoever was told where the others are must not begin a run of its own because they are slow to
        // answer.
        if (parts_->options.purpose != Purpose::meeting) co_await parts_->bootstrap->until_met();
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

awaitable<void> Node::start() {
    Parts& p = *parts_;
    if (!p.options.observer) {
        ProbeSettings probes;
        probes.run = p.options.purpose == Purpose::meeting ? std::string() : p.definition.run.name;
        probes.name = p.name;
        p.probes = serve_probes(*p.network, p.clock, std::move(probes), p.options.log);
        p.observing = p.network->observe([&p](const PeerId& peer, bool connected, const std::string& cause) {
            const std::string name = "peer " + peer.short_name();
            const bool named = cause.starts_with(name);  // errors of the network name the peer as a rule
            p.options.log.info(connected ? name + " connected" : named ? cause : name + ": " + cause);
            std::vector<std::pair<std::string, std::string>> fields;
            fields.emplace_back("peer", peer.short_name());
            fields.emplace_back("state", connected ? "connected" : "lost");
            if (!connected) fields.emplace_back("cause", cause);
            p.metrics.note("peer", fields);
        });
        std::vector<std::pair<std::string, std::string>> fields;
        fields.emplace_back("run", p.definition.run.name);
        fields.emplace_back("name", p.name);
        fields.emplace_back("peer", p.id.hex());
        fields.emplace_back("role", std::string(to_string(role())));
        fields.emplace_back("port", std::to_string(port()));
        fields.emplace_back("metrics_port", std::to_string(metrics_port()));
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
        const std::vector<std::pair<std::string, std::string>> nothing;
        p.metrics.note("stopped", nothing);
    }
    co_await net::shut_down(p.network);
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
    return *parts_->network;
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

collective::TrainingSettings Node::training_settings() const {
    const RunDefinition& d = parts_->definition;
    collective::TrainingSettings settings;
    settings.run = d.run.name;
    settings.name = parts_->name;
    settings.role = role();
    settings.target_batch_size = static_cast<Samples>(d.run.target_batch_size);
    settings.last_step = static_cast<Step>(d.run.steps);
    settings.evaluate_every = d.run.evaluate_every;
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
