// Three processes average a vector over encrypted connections: each brings its own numbers, all end with the
// same mean.
#include <asio/co_spawn.hpp>
#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/use_future.hpp>
#include <cstdio>
#include <future>
#include <map>
#include <sys/wait.h>
#include <unistd.h>

#include "shoal/collective/averager.h"
#include "shoal/net/tcp_network.h"

using namespace shoal;
using namespace std::chrono_literals;

struct Peer {  // keys and addresses are agreed before; among strangers, shoal::dht finds them
    std::shared_ptr<KeyPair> key = std::make_shared<KeyPair>(KeyPair::generate());
    net::Endpoint address;
};

awaitable<std::vector<net::Endpoint>> just(net::Endpoint address) {
    co_return std::vector{address};
}

int average(const std::vector<Peer>& peers, std::size_t self, const int (&starting)[2]) {
    asio::io_context context;
    RealClock clock;
    net::NetworkSettings listening;
    listening.listen_host = peers[self].address.host;
    listening.listen_port = peers[self].address.port;
    const auto network =
        net::make_tcp_network(context.get_executor(), clock, *peers[self].key, listening, {});
    close(starting[1]);
    for (char none; read(starting[0], &none, 1) > 0;)
        continue;  // until all have closed it: all listen, or died
    std::map<PeerId, net::Endpoint> others;
    for (const Peer& peer : peers)
        if (&peer != &peers[self]) others[peer.key->peer_id()] = peer.address;
    network->set_resolver([&others](PeerId id) { return just(others.at(id)); });

    collective::AveragerSettings settings;
    settings.run = "example";
    settings.signer = peers[self].key;
    const auto averager = collective::make_averager(*network, clock, Random::from_entropy(), settings, {});
    const std::vector<float> mine(4, static_cast<float>(self));
    std::vector<float> mean(mine.size());
    collective::RoundRequest request;
    request.contribution = mine;
    request.result = mean;
    request.weight = 1;
    request.expected = [&others, ready_by = clock.now() + 10s] {
        std::vector<collective::ExpectedPeer> expected;
        for (const auto& [id, address] : others) expected.push_back({id, collective::Role::full, ready_by});
        return expected;
    };
    auto ended = asio::co_spawn(context, averager->average(request), asio::use_future);
    while (ended.wait_for(0s) != std::future_status::ready) context.run_one();  // waits inside
    const collective::Verdict verdict = ended.get();
    if (verdict.outcome != collective::Verdict::Outcome::averaged ||
        verdict.contributors.size() != peers.size())
        throw std::runtime_error("not all took part; " + verdict.cause);
    std::printf("process %zu: the average is %g\n", self, mean[0]);
    return mean[0] == 1 ? 0 : 1;  // of 0, 1 and 2
}

int main() try {
    std::vector<Peer> peers(3);
    asio::io_context context;
    for (Peer& peer : peers) {  // the kernel names a free port
        const asio::ip::tcp::acceptor acceptor(context, {asio::ip::make_address("127.0.0.1"), 0});
        peer.address = net::Endpoint{"127.0.0.1", acceptor.local_endpoint().port()};
    }
    int starting[2];
    if (pipe(starting) != 0) return 1;
    for (std::size_t self = 0; self < peers.size(); ++self)
        if (fork() == 0) return average(peers, self, starting);
    close(starting[1]);
    int failures = 0;
    for (int status = 0; wait(&status) > 0;) failures += status == 0 ? 0 : 1;
    return failures == 0 ? 0 : 1;
} catch (const std::exception& error) {
    std::fprintf(stderr, "average: %s\n", error.what());
    return 1;
}
