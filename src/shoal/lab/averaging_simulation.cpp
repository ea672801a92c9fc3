#include "shoal/lab/averaging_simulation.h"

#include "shoal/base/async.h"
#include "shoal/sim/world.h"

namespace shoal::lab {
namespace {

/// Between two processes on a bridge.
constexpr Duration kLatency = std::chrono::microseconds(50);

struct Simulated {
    explicit Simulated(sim::Peer p) : peer(std::move(p)) {}
    sim::Peer peer;
    std::shared_ptr<collective::Averager> averager;
    std::vector<RoundTimes> times;
};
using Crowd = std::vector<std::unique_ptr<Simulated>>;

awaitable<void> take_part(Simulated& one, const AveragingTask& task, std::size_t rank,
                          std::function<void()> told) {
    const auto note = [&one, told](const RoundTimes& times) {
        one.times.push_back(times);
        told();
    };
    co_await take_part_in_rounds(*one.peer.network, *one.peer.clock, *one.averager, task, rank, note);
}

awaitable<void> take_part_together(asio::any_io_executor executor, Crowd& crowd, const AveragingTask& task,
                                   const std::function<void(double done)>& progress) {
    TaskGroup group(executor);
    double told = 0;
    const double all = static_cast<double>(task.rounds) * static_cast<double>(crowd.size());
    const std::function<void()> tell = [&told, &progress, all] {
        ++told;
        if (progress) progress(told / all);
    };
    for (std::size_t rank = 0; rank < crowd.size(); ++rank)
        group.spawn(take_part(*crowd[rank], task, rank, tell));
    co_await group.join();
}

}  // namespace

std::vector<RoundTimes> simulate_rounds(const AveragingTask& task, std::uint64_t seed,
                                        const std::function<void(double done)>& progress) {
    sim::World world(seed);
    Crowd crowd;
    for (std::size_t rank = 0; rank < task.peers.size(); ++rank) {
        const AveragingPeer& peer = task.peers[rank];
        sim::HostSettings host;
        host.upload_rate = host.download_rate = kDelivered * peer.megabits * 1e6 / 8;
        host.latency = kLatency;
        host.accept_connections = !peer.client_mode;
        crowd.push_back(std::make_unique<Simulated>(world.add_peer(host)));
        Simulated& one = *crowd.back();
        one.averager = make_lab_averager(*one.peer.network, *one.peer.clock, one.peer.random, task, rank);
    }
    world.simulation().run(take_part_together(world.executor(), crowd, task, progress));
    return slowest_peers([&] {
        std::vector<std::vector<RoundTimes>> by_peer;
        for (const auto& one : crowd) by_peer.push_back(one->times);
        return by_peer;
    }());
}

}  // namespace shoal::lab
