#include "shoal/lab/saddle_worker.h"

#include <asio/io_context.hpp>
#include <cstdio>
#include <fmt/format.h>
#include <fstream>
#include <sstream>

#include "shoal/base/error.h"
#include "shoal/base/run_until.h"
#include "shoal/lab/rendezvous.h"
#include "shoal/lab/saddle_processes.h"
#include "shoal/net/tcp_network.h"
#include "shoal/variational/peer_exchange.h"

namespace shoal::lab {
namespace {

/// Many processes share few processors here; a silent one is not dead.
constexpr Duration kPeerTimeout = std::chrono::seconds(30), kPatience = std::chrono::seconds(60);

/// Who is which device, and where.
struct Roster {
    std::vector<PeerId> devices;
    std::vector<net::Endpoint> endpoints;
};

Roster roster_of(const std::vector<std::string>& words) {
    Roster roster;
    for (const std::string& of_process : words) {
        std::string id, endpoint;
        std::istringstream(of_process) >> id >> endpoint;
        roster.devices.push_back(PeerId::from_hex(id));
        roster.endpoints.push_back(net::Endpoint::parse(endpoint));
    }
    return roster;
}

awaitable<std::vector<net::Endpoint>> find(std::shared_ptr<const Roster> roster, PeerId peer) {
    std::vector<net::Endpoint> found;
    for (std::size_t i = 0; i < roster->devices.size(); ++i)
        if (roster->devices[i] == peer) found.push_back(roster->endpoints[i]);
    co_return found;
}

std::uint64_t sent_on_the_wire(const net::Network& network) {
    std::uint64_t sent = 0;
    for (const net::ConnectionInfo& connection : network.connections()) sent += connection.bytes_sent;
    return sent;
}

void print_progress(const variational::Waypoint& now) {
    constexpr std::uint64_t kSometimes = 100;
    if (now.iteration % kSometimes != 0) return;
    fmt::print("at {}\n", now.iteration);
    std::fflush(stdout);
}

awaitable<void> take_part(net::Network& network, Clock& clock, variational::PeerExchange& exchange,
                          const variational::Problem& problem, const SaddleTask& task) {
    const variational::ErrorMeasure error = error_on(problem);
    for (std::size_t i = 0; i < task.settings.size(); ++i) {
        const std::unique_ptr<variational::Method> method = make_method(problem, exchange, task.settings[i]);
        const std::uint64_t payload = exchange.payload_sent(), wire = sent_on_the_wire(network);
        const TimePoint start = clock.now();
        std::function<void(const variational::Waypoint&)> told = print_progress;
        const variational::Trajectory way = co_await run_method(*method, task.rules[i], error, told);
        fmt::print("row {} {} {} {} {:.3f}\n", way.way.back().iteration, fingerprint_of(way),
                   exchange.payload_sent() - payload, sent_on_the_wire(network) - wire,
                   seconds(clock.now() - start));
        std::fflush(stdout);
    }
    co_await exchange.leave();
}

awaitable<void> work(asio::io_context& context, SaddleWorkerOptions options) {
    std::ifstream input(options.folder / "task.json");
    const std::string text{std::istreambuf_iterator<char>(input), {}};
    const SaddleTask task = task_from(nlohmann::json::parse(text));
    const std::unique_ptr<variational::Problem> problem = make_problem(task.choice);
    RealClock clock;
    net::NetworkSettings settings;
    settings.listen_host = "127.0.0.1";
    settings.peer_timeout = kPeerTimeout;
    const std::shared_ptr<net::Network> network =
        net::make_tcp_network(context.get_executor(), clock, KeyPair::generate(), settings, Log());
    const std::string word =
        fmt::format("{} 127.0.0.1:{}", network->self().hex(), net::listen_port(*network));
    const std::vector<std::string> words = co_await meet(
        clock, options.folder, static_cast<int>(options.rank), static_cast<int>(task.choice.devices), word);
    const auto roster = std::make_shared<const Roster>(roster_of(words));
    network->set_resolver([roster](PeerId peer) { return find(roster, peer); });
    variational::PeerExchangeSettings peers;
    peers.devices = roster->devices;
    peers.patience = kPatience;
    {
        variational::PeerExchange exchange(*network, clock, peers);
        co_await exchange.connect();
        co_await exchange.agree(text);
        co_await take_part(*network, clock, exchange, *problem, task);
    }
    co_await net::shut_down(network);
}

}  // namespace

void run_saddle_worker(const SaddleWorkerOptions& options) {
    asio::io_context context(1);
    run_until_ended(context, work(context, options));
}

}  // namespace shoal::lab
