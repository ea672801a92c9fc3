// Four peers over real connections on loopback: the same bits as in one process.
#include "variational/exchange_harness.h"

#include <asio/co_spawn.hpp>
#include <asio/io_context.hpp>
#include <deque>
#include <gtest/gtest.h>

#include "shoal/net/tcp_network.h"

namespace shoal::variational {
namespace {

class TcpSwarm {
  public:
    explicit TcpSwarm(std::size_t size) {
        for (std::size_t i = 0; i < size; ++i) {
            const KeyPair key = KeyPair::generate();
            net::NetworkSettings settings;
            settings.listen_host = "127.0.0.1";
            settings.peer_timeout = std::chrono::seconds(30);  // the machine may be busy
            networks_.push_back(net::make_tcp_network(context_.get_executor(), clock_, key, settings, Log()));
            networks_.back()->set_resolver([this](PeerId id) { return find(*this, id); });
            peers_.devices.push_back(key.peer_id());
        }
        peers_.patience = std::chrono::seconds(100);
    }
    ~TcpSwarm() {
        for (const auto& network : networks_)
            asio::co_spawn(context_, net::shut_down(network), [](const std::exception_ptr&) {});
        context_.restart();
        context_.run();
    }

    std::deque<PeerOutcome> run(const Problem& problem, const MethodSettings& settings,
                                const StopRule& rule) {
        std::deque<PeerOutcome> outcomes(networks_.size());
        std::size_t running = networks_.size();
        for (std::size_t i = 0; i < networks_.size(); ++i)
            asio::co_spawn(
                context_,
                take_part(*networks_[i], clock_, peers_, problem, settings, rule, "test", outcomes[i]),
                [&](const std::exception_ptr&) {
                    if (--running == 0) context_.stop();
                });
        context_.restart();
        context_.run();
        return outcomes;
    }

  private:
    static awaitable<std::vector<net::Endpoint>> find(TcpSwarm& self, PeerId id) {
        std::vector<net::Endpoint> found;
        for (const auto& network : self.networks_) {
            if (network->self() != id) continue;
            net::Endpoint endpoint;
            endpoint.host = "127.0.0.1";
            endpoint.port = net::listen_port(*network);
            found.push_back(endpoint);
        }
        co_return found;
    }

    asio::io_context context_;
    RealClock clock_;
    PeerExchangeSettings peers_;
    std::vector<std::shared_ptr<net::Network>> networks_;
};

TEST(PeerExchangeOverTcp, masha_has_the_bits_of_the_twin) {
    const Bilinear problem = small_bilinear();
    StopRule rule;
    rule.iterations = 200;
    TcpSwarm swarm(4);
    for (const std::string name : {"masha1", "masha2"}) {
        SCOPED_TRACE(name);
        MethodSettings settings = settings_of(name, name == "masha1" ? "rand_k:0.3" : "top_k:0.3", 0.2);
        settings.server_codec = settings.device_codec;
        const Trajectory twin =
            run_in_process(problem, settings, rule, distance_to(*problem.solution(), problem.start()));
        for (const PeerOutcome& outcome : swarm.run(problem, settings, rule)) {
            ASSERT_FALSE(outcome.failure) << describe(outcome.failure);
            expect_same_way(*outcome.trajectory, twin);
        }
    }
}

}  // namespace
}  // namespace shoal::variational
