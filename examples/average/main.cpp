// Three processes average a vector over encrypted connections. Start each with its number and a first port:
//     average 0 31500 & average 1 31500 & average 2 31500 & wait
#include <asio/co_spawn.hpp>
#include <asio/io_context.hpp>
#include <asio/use_future.hpp>
#include <cstdio>
#include <cstdlib>

#include "shoal/collective/averager.h"
#include "shoal/net/tcp_network.h"

using namespace shoal;

KeyPair key_of(
    std::size_t rank) {  // keys and addresses are agreed before; among strangers, shoal::dht finds them
    return KeyPair::from_seed(Bytes(32, static_cast<std::uint8_t>(rank)));
}
net::AddressResolver resolver(std::uint16_t port) {
    return [port](PeerId id) -> awaitable<std::vector<net::Endpoint>> {
        std::uint16_t rank = 0;
        while (rank < 2 && key_of(rank).peer_id() != id) ++rank;
        co_return std::vector(1, net::Endpoint{"127.0.0.1", static_cast<std::uint16_t>(port + rank)});
    };
}

int main(int argc, char** argv) {
    if (argc != 3) return std::fprintf(stderr, "usage: average RANK PORT\n"), 2;
    const auto rank = static_cast<std::size_t>(std::atoi(argv[1])),
               port = static_cast<std::size_t>(std::atoi(argv[2]));
    asio::io_context context;
    RealClock clock;
    net::NetworkSettings listening;
    listening.listen_port = static_cast<std::uint16_t>(port + rank);
    const auto network = net::make_tcp_network(context.get_executor(), clock, key_of(rank), listening, {});
    network->set_resolver(resolver(static_cast<std::uint16_t>(port)));
    collective::AveragerSettings settings;
    settings.run = "example";
    settings.signer = std::make_shared<KeyPair>(key_of(rank));
    const auto averager = collective::make_averager(*network, clock, Random::from_entropy(), settings, {});
    const std::vector<float> mine(4, static_cast<float>(rank));
    std::vector<float> mean(mine.size());
    collective::RoundRequest request;
    request.contribution = mine;
    request.result = mean;
    request.weight = 1;
    request.expected = [rank, ready_by = clock.now() + std::chrono::seconds(10)] {
        std::vector<collective::ExpectedPeer> others;
        for (std::size_t i = 0; i < 3; ++i)
            if (i != rank) others.push_back({key_of(i).peer_id(), collective::Role::full, ready_by});
        return others;
    };
    auto ended = asio::co_spawn(context, averager->average(request), asio::use_future);
    while (ended.wait_for(std::chrono::seconds(0)) != std::future_status::ready) context.run_one();
    const collective::Verdict verdict = ended.get();
    context.run_for(std::chrono::seconds(1));  // answers members that have not heard the verdict yet
    std::printf("process %zu: the average is %g (%zu took part) %s\n", rank, mean[0],
                verdict.contributors.size(), verdict.cause.c_str());
    return verdict.outcome == collective::Verdict::Outcome::averaged && mean[0] == 1 ? 0
                                                                                     : 1;  // of 0, 1 and 2
}
