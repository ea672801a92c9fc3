// Three processes average a vector over encrypted connections. Start each with its number and a first port:
//     average 0 31500 & average 1 31500 & average 2 31500 & wait
#include <cstdio>
#include <cstdlib>

#include "shoal/base/run_until.h"
#include "shoal/collective/averager.h"
#include "shoal/net/address_book.h"
#include "shoal/net/tcp_network.h"

using namespace shoal;

int main(int argc, char** argv) {
    if (argc != 3) return std::fprintf(stderr, "usage: average NUMBER PORT\n"), 2;
    const int self = std::atoi(argv[1]), port = std::atoi(argv[2]);
    asio::io_context context;
    RealClock clock;
    // Keys and addresses are agreed before; among strangers, shoal::dht finds them.
    std::map<PeerId, net::Endpoint> book;
    std::vector<collective::ExpectedPeer> others;
    const auto key_of = [](int i) { return KeyPair::from_seed(Bytes(32, static_cast<std::uint8_t>(i))); };
    for (int i = 0; i < 3; ++i) {
        const PeerId peer = key_of(i).peer_id();
        book[peer] = net::Endpoint{"127.0.0.1", static_cast<std::uint16_t>(port + i)};
        if (i != self)
            others.push_back({peer, collective::Role::full, clock.now() + std::chrono::seconds(10)});
    }
    net::NetworkSettings listening;
    listening.listen_port = static_cast<std::uint16_t>(port + self);
    const auto network = net::make_tcp_network(context.get_executor(), clock, key_of(self), listening, {});
    network->set_resolver(net::resolver_of(book));
    collective::AveragerSettings settings;
    settings.run = "example";
    settings.signer = std::make_shared<KeyPair>(key_of(self));
    const auto averager = collective::make_averager(*network, clock, Random::from_entropy(), settings, {});
    const std::vector<float> mine(4, static_cast<float>(self));
    std::vector<float> mean(mine.size());
    collective::RoundRequest request;
    request.contribution = mine;
    request.result = mean;
    request.weight = 1;
    request.expected = [&others] { return others; };
    const collective::Verdict verdict = run_until_ended(context, averager->average(request));
    context.run_for(std::chrono::seconds(1));  // answers members that have not heard the verdict yet
    std::printf("%d: the average is %g, %zu took part %s\n", self, mean[0], verdict.contributors.size(),
                verdict.cause.c_str());
    return verdict.outcome == collective::Verdict::Outcome::averaged && mean[0] == 1 ? 0 : 1;
}
