#include "shoal/lab/averaging_worker.h"

#include <asio/io_context.hpp>
#include <cstdio>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include "shoal/base/async.h"
#include "shoal/base/error.h"
#include "shoal/lab/shaped_lines.h"
#include "shoal/net/tcp_network.h"

namespace shoal::lab {
namespace {

constexpr Duration kDialPause = std::chrono::milliseconds(50), kConnectLimit = std::chrono::minutes(2);
constexpr std::uint16_t kPort = 31337;  ///< everybody's: each has a machine of its own

awaitable<std::vector<net::Endpoint>> resolve(AveragingTask task, PeerId peer) {
    std::vector<net::Endpoint> found;
    for (std::size_t i = 0; i < task.peers.size(); ++i) {
        if (task.peers[i].client_mode || averaging_key(i).peer_id() != peer) continue;
        net::Endpoint endpoint;
        endpoint.host = ShapedLines::address(i);
        endpoint.port = kPort;
        found.push_back(std::move(endpoint));
    }
    co_return found;
}

std::shared_ptr<net::Network> make_network(asio::io_context& context, Clock& clock, const AveragingTask& task,
                                           std::size_t rank) {
    net::NetworkSettings settings;
    settings.accept_connections = !task.peers[rank].client_mode;
    settings.listen_port = settings.accept_connections ? kPort : 0;
    auto network = net::make_tcp_network(context.get_executor(), clock, averaging_key(rank), settings, Log());
    network->set_resolver([task](PeerId peer) { return resolve(task, peer); });
    return network;
}

bool dials(const AveragingTask& task, std::size_t from, std::size_t to) {
    if (from == to || task.peers[to].client_mode) return false;
    return task.peers[from].client_mode || from > to;
}

/// A port on which nobody listens yet tells nobody when that changes: so it is tried again.
awaitable<void> dial_until_it_answers(net::Network& network, Clock& clock, std::size_t machine) {
    net::Endpoint endpoint;
    endpoint.host = ShapedLines::address(machine);
    endpoint.port = kPort;
    while (!network.is_connected(averaging_key(machine).peer_id())) {
        try {
            co_await network.dial(endpoint);
            continue;
        } catch (const Error& error) {
            if (error.kind() == ErrorKind::cancelled) throw;
        }
        co_await clock.sleep_for(kDialPause);
    }
}

/// Processes do not start at the same moment, and whom a peer cannot reach it leaves out for a while.
awaitable<void> connect_all(net::Network& network, Clock& clock, const AveragingTask& task,
                            std::size_t rank) {
    TaskGroup dialling(network.executor());
    for (std::size_t other = 0; other < task.peers.size(); ++other)
        if (dials(task, rank, other)) dialling.spawn(dial_until_it_answers(network, clock, other));
    Signal changed(network.executor());
    const auto watching =
        network.observe([&changed](const PeerId&, bool, const std::string&) { changed.notify(); });
    co_await dialling.join();
    for (std::size_t other = 0; other < task.peers.size(); ++other)
        while (dials(task, other, rank) && !network.is_connected(averaging_key(other).peer_id()))
            co_await changed.wait();
}

awaitable<void> work(asio::io_context& context, Clock& clock, AveragingTask task, std::size_t rank) {
    const auto network = make_network(context, clock, task, rank);
    const auto averager = make_lab_averager(*network, clock, Random::from_entropy(), task, rank);
    awaitable<void> connecting = connect_all(*network, clock, task, rank);
    const TimePoint limit = clock.now() + kConnectLimit;
    co_await with_deadline(clock, limit, std::move(connecting), "waiting for the other processes");
    const auto print = [](const RoundTimes& times) {
        fmt::print("round {:.6f} {:.6f} {:.6f} {:.6f}\n", times.whole, times.match, times.reduce, times.vote);
        std::fflush(stdout);
    };
    co_await take_part_in_rounds(*network, clock, *averager, task, rank, print);
    co_await net::shut_down(network);
}

}  // namespace

std::string text_of(const AveragingTask& task) {
    nlohmann::json json = {{"elements", task.elements}, {"rounds", task.rounds}, {"codec", task.codec}};
    for (const AveragingPeer& peer : task.peers)
        json["peers"].push_back(
            {peer.megabits, peer.client_mode, peer.only_takes_part, peer.auxiliary, peer.claim});
    return json.dump();
}

AveragingTask task_from(const std::string& text) {
    const nlohmann::json json = nlohmann::json::parse(text);
    AveragingTask task;
    task.elements = json.at("elements");
    task.rounds = json.at("rounds");
    task.codec = json.at("codec");
    for (const nlohmann::json& peer : json.at("peers")) {
        AveragingPeer one;
        one.megabits = peer.at(0);
        one.client_mode = peer.at(1);
        one.only_takes_part = peer.at(2);
        one.auxiliary = peer.at(3);
        one.claim = peer.at(4);
        task.peers.push_back(one);
    }
    return task;
}

void run_averaging_worker(const AveragingWorkerOptions& options) {
    setsid();  // it stands for a machine of its own (all_reduce_contestants.h), and Ctrl-C is not for it
    enter_network_namespace(options.network_namespace);
    asio::io_context context(1);
    RealClock clock;
    std::exception_ptr failure;
    asio::co_spawn(context, work(context, clock, task_from(options.task), options.rank),
                   [&](std::exception_ptr error) {
                       failure = std::move(error);
                       context.stop();
                   });
    context.run();
    if (failure) std::rethrow_exception(failure);
}

}  // namespace shoal::lab
