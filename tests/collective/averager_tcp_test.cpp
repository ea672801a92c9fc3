// Averaging over real connections on loopback: TLS, one thread, several peers in this process.
#include "averager_harness.h"

#include <asio/co_spawn.hpp>
#include <asio/io_context.hpp>
#include <cstring>
#include <deque>
#include <gtest/gtest.h>

#include "shoal/net/tcp_network.h"

namespace shoal::collective {
namespace {

using namespace std::chrono_literals;

class TcpSwarm {
  public:
    struct Peer {
        std::shared_ptr<KeyPair> key;
        std::shared_ptr<net::Network> network;
        std::shared_ptr<Averager> averager;
        Role role = Role::full;
        double weight = 1;
        std::vector<float> contribution, result;
        std::optional<Verdict> verdict;
        std::exception_ptr error;
    };

    explicit TcpSwarm(const std::vector<Role>& roles, const std::string& codec) {
        for (const Role role : roles) {
            Peer& peer = peers_.emplace_back();
            peer.role = role;
            peer.key = std::make_shared<KeyPair>(KeyPair::generate());
            net::NetworkSettings settings;
            settings.listen_host = "127.0.0.1";
            settings.accept_connections = role != Role::client;
            peer.network = net::make_tcp_network(context_.get_executor(), clock_, *peer.key, settings, Log());
            peer.network->set_resolver([this](PeerId id) { return find(*this, id); });
            AveragerSettings averaging;
            averaging.run = "tcp test";
            averaging.role = role;
            averaging.codec = codec;
            averaging.signer = peer.key;
            peer.averager = make_averager(*peer.network, clock_, Random(peers_.size()), averaging, Log());
            if (role == Role::auxiliary) continue;
            peer.weight = static_cast<double>(peers_.size());
            peer.contribution = test_vector(300000, peers_.size());
            peer.result.resize(peer.contribution.size());
        }
    }

    ~TcpSwarm() {
        for (Peer& peer : peers_) {
            peer.averager.reset();
            asio::co_spawn(context_, net::shut_down(peer.network), [](const std::exception_ptr&) {});
        }
        context_.restart();
        context_.run();
    }

    void run(Step step) {
        std::size_t running = peers_.size();
        for (Peer& peer : peers_) {
            RoundRequest request;
            request.step = step;
            request.contribution = peer.contribution;
            request.result = peer.result;
            request.weight = peer.role == Role::auxiliary ? 0 : peer.weight;
            const TimePoint ready_by = clock_.now() + 20s;
            request.expected = [this, ready_by] {
                std::vector<ExpectedPeer> expected;
                for (const Peer& p : peers_) {
                    ExpectedPeer e;
                    e.peer = p.network->self();
                    e.role = p.role;
                    e.ready_by = ready_by;
                    expected.push_back(e);
                }
                return expected;
            };
            asio::co_spawn(context_, peer.averager->average(std::move(request)),
                           [this, &peer, &running](const std::exception_ptr& error, Verdict verdict) {
                               peer.error = error;
                               peer.verdict = std::move(verdict);
                               if (--running == 0) context_.stop();
                           });
        }
        context_.restart();
        context_.run();
    }

    std::deque<Peer>& peers() { return peers_; }

  private:
    static awaitable<std::vector<net::Endpoint>> find(TcpSwarm& self, PeerId id) {
        std::vector<net::Endpoint> found;
        for (const Peer& peer : self.peers_) {
            if (peer.network->self() != id || peer.role == Role::client) continue;
            net::Endpoint endpoint;
            endpoint.host = "127.0.0.1";
            endpoint.port = net::listen_port(*peer.network);
            found.push_back(endpoint);
        }
        co_return found;
    }

    asio::io_context context_;
    RealClock clock_;
    std::deque<Peer> peers_;
};

TEST(AveragerOverTcp, all_roles_average_with_signed_joins) {
    for (const std::string codec : {"fp32", "fp16", "blockwise8"}) {
        SCOPED_TRACE(codec);
        TcpSwarm swarm({Role::full, Role::full, Role::client, Role::auxiliary}, codec);
        for (int step = 1; step <= 3; ++step) {
            swarm.run(static_cast<Step>(step));
            const std::vector<float>& first = swarm.peers()[0].result;
            for (TcpSwarm::Peer& peer : swarm.peers()) {
                ASSERT_FALSE(peer.error) << describe(peer.error);
                ASSERT_EQ(peer.verdict->outcome, Verdict::Outcome::averaged) << peer.verdict->cause;
                EXPECT_EQ(peer.verdict->contributors.size(), 4u);
                EXPECT_EQ(peer.verdict->digest, swarm.peers()[0].verdict->digest);
                if (peer.role == Role::auxiliary) continue;
                EXPECT_EQ(std::memcmp(peer.result.data(), first.data(), first.size() * sizeof(float)), 0);
            }
            double worst = 0, largest = 0;
            for (std::size_t i = 0; i < first.size(); ++i) {
                double sum = 0, weight = 0;
                for (const TcpSwarm::Peer& peer : swarm.peers()) {
                    if (peer.role == Role::auxiliary) continue;
                    sum += peer.weight * static_cast<double>(peer.contribution[i]);
                    weight += peer.weight;
                }
                largest = std::max(largest, std::fabs(sum / weight));
                worst = std::max(worst, std::fabs(sum / weight - static_cast<double>(first[i])));
            }
            EXPECT_LT(worst / largest, codec == "fp32" ? 1e-6 : codec == "fp16" ? 1e-3 : 0.05);
        }
    }
}

}  // namespace
}  // namespace shoal::collective
