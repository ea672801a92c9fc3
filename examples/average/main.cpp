// Three processes average a vector over encrypted connections: each brings its own numbers, all end with the
// same mean.
#include <asio/co_spawn.hpp>
#include <asio/io_context.hpp>
#include <atomic>
#include <cstdio>
#include <span>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shoal/collective/averager.h"
#include "shoal/net/tcp_network.h"

using namespace shoal;
struct Peer {  // what the processes tell each other in shared memory; between machines, shoal::dht does this
    PeerId id;
    std::atomic<std::uint16_t> port;
};

awaitable<std::vector<net::Endpoint>> find(std::span<Peer> peers, PeerId id) {
    std::vector<net::Endpoint> found;
    for (const Peer& peer : peers)
        if (peer.id == id) found.push_back(net::Endpoint{"127.0.0.1", peer.port});
    co_return found;
}

int run(std::span<Peer> peers, std::size_t self) {
    asio::io_context context;
    RealClock clock;
    auto key = std::make_shared<KeyPair>(KeyPair::generate());
    const auto network = net::make_tcp_network(context.get_executor(), clock, *key, {}, {});
    network->set_resolver([peers](PeerId id) { return find(peers, id); });
    peers[self].id = network->self();
    peers[self].port = net::listen_port(*network);
    for (const Peer& peer : peers)
        while (peer.port == 0) usleep(1000);

    collective::AveragerSettings settings;
    settings.run = "example";
    settings.signer = key;
    const auto averager = collective::make_averager(*network, clock, Random::from_entropy(), settings, {});
    const std::vector<float> mine(4, static_cast<float>(self));
    std::vector<float> mean(mine.size());
    collective::RoundRequest request;
    request.contribution = mine;
    request.result = mean;
    request.weight = 1;
    const TimePoint ready_by = clock.now() + std::chrono::seconds(5);
    request.expected = [peers, ready_by] {
        std::vector<collective::ExpectedPeer> expected;
        for (const Peer& peer : peers) expected.push_back({peer.id, collective::Role::full, ready_by});
        return expected;
    };
    collective::Verdict verdict;
    const auto done = [&](std::exception_ptr, collective::Verdict v) { verdict = v, context.stop(); };
    asio::co_spawn(context, averager->average(request), done);
    context.run();
    std::printf("process %zu: %s, mean %g\n", self, std::string(to_string(verdict.outcome)).c_str(), mean[0]);
    return mean[0] == 1 ? 0 : 1;  // of 0, 1 and 2
}

int main() {
    void* memory = mmap(nullptr, 3 * sizeof(Peer), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    const std::span<Peer> peers(new (memory) Peer[3], 3);
    for (std::size_t i = 0; i < 3; ++i)
        if (fork() == 0) return run(peers, i);
    int failures = 0;
    for (int status = 0; wait(&status) > 0;) failures += status != 0;
    return failures;
}
