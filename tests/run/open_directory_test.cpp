// The directory of peers with real sockets: TCP among them, and UDP for some.
#include "shoal/run/open_directory.h"

#include <asio/co_spawn.hpp>
#include <asio/io_context.hpp>
#include <gtest/gtest.h>

#include "shoal/base/async.h"
#include "shoal/net/tcp_network.h"

namespace shoal::run {
namespace {

using namespace std::chrono_literals;
using Values = std::vector<std::string>;

struct Peer {
    KeyPair key = KeyPair::generate();
    std::shared_ptr<net::Network> network;
    std::unique_ptr<DirectoryOwner> directory;
    net::Endpoint endpoint() const { return {"127.0.0.1", net::listen_port(*network)}; }
};

class OpenDirectory : public testing::Test {
  protected:
    ~OpenDirectory() override {
        for (const auto& peer : peers_) run(leave(*peer));
    }

    /// @param bootstrap  where it looks for others over UDP; nobody's: as if a firewall stood there.
    Peer& add(const std::string& way, std::vector<net::Endpoint> bootstrap = {}) {
        auto peer = std::make_unique<Peer>();
        net::NetworkSettings settings;
        settings.listen_host = "127.0.0.1";
        peer->network = net::make_tcp_network(io_.get_executor(), clock_, peer->key, settings, Log());
        RunDefinition definition;
        definition.network.listen_host = "127.0.0.1";
        definition.network.directory = way;
        for (const auto& one : bootstrap) definition.network.bootstrap.push_back(one.to_string());
        peer->directory =
            std::make_unique<DirectoryOwner>(peer->network, clock_, peer->key, definition, false, Log());
        run(peer->directory->start());
        peers_.push_back(std::move(peer));
        return *peers_.back();
    }

    static awaitable<void> leave(Peer& peer) {
        co_await peer.directory->stop();
        co_await net::shut_down(peer.network);
    }
    static awaitable<void> dial(Peer& from, net::Endpoint to) { co_await from.network->dial(to); }
    static awaitable<void> publish_one(Peer& peer, std::string value) {
        co_await peer.directory->get().publish("key", "", to_bytes(value), 300s);
    }
    static awaitable<void> read_all(Peer& peer, Values& values) {
        values.clear();
        for (const dht::Record& record : co_await peer.directory->get().read("key"))
            values.emplace_back(as_text(record.value));
        std::sort(values.begin(), values.end());
    }

    void run(awaitable<void> work) {
        std::exception_ptr failure;
        bool ended = false;
        asio::co_spawn(io_, std::move(work), [&](std::exception_ptr error) {
            failure = error;
            ended = true;
        });
        EXPECT_TRUE(until([&] { return ended; }));
        if (failure) std::rethrow_exception(failure);
    }
    bool until(const std::function<bool()>& condition) {
        const auto deadline = std::chrono::steady_clock::now() + 40s;
        io_.restart();
        while (!condition()) {
            if (std::chrono::steady_clock::now() > deadline) return false;
            io_.run_one_for(50ms);
        }
        return true;
    }
    bool reads(Peer& peer, const Values& expected) {
        return until([&] {
            Values values;
            run(read_all(peer, values));
            return values == expected;
        });
    }

    asio::io_context io_{1};
    RealClock clock_;
    std::vector<std::unique_ptr<Peer>> peers_;
};

TEST_F(OpenDirectory, a_peer_that_shall_not_use_udp_reads_publishes_and_watches_through_others) {
    Peer& first = add("auto");
    Peer& second = add("auto", {first.endpoint()});
    Peer& third = add("through-peers");
    run(dial(third, first.endpoint()));
    Values seen;
    const auto token = third.directory->get().watch(
        "key", [&](const dht::Record& record) { seen.emplace_back(as_text(record.value)); });
    run(publish_one(third, "three"));
    EXPECT_TRUE(reads(second, {"three"}));
    run(publish_one(second, "two"));
    EXPECT_TRUE(reads(third, {"three", "two"}));
    EXPECT_TRUE(until([&] { return seen.size() == 2; }));
    // Its server goes, another one is connected.
    run(dial(third, second.endpoint()));
    run(leave(first));
    run(publish_one(second, "2"));
    EXPECT_TRUE(until([&] { return seen.back() == "2"; }));
    run(publish_one(third, "3"));
    EXPECT_TRUE(reads(second, {"2", "3"}));
}

TEST_F(OpenDirectory, a_peer_to_which_udp_does_not_get_through_finds_it_out) {
    Peer& first = add("auto");
    Peer& second = add("auto", {first.endpoint()});
    Peer& deaf = add("auto");  // knows nobody over UDP
    run(publish_one(second, "two"));
    run(publish_one(deaf, "deaf"));
    Values seen;
    const auto token = deaf.directory->get().watch(
        "key", [&](const dht::Record& record) { seen.emplace_back(as_text(record.value)); });
    run(dial(deaf, first.endpoint()));
    EXPECT_TRUE(until([&] { return seen == (Values{"deaf", "two"}); }));
    EXPECT_TRUE(reads(second, {"deaf", "two"}));
}

TEST_F(OpenDirectory, a_peer_that_shall_use_udp_only_asks_no_peer) {
    Peer& first = add("auto");
    Peer& stubborn = add("udp");
    run(publish_one(first, "one"));
    run(dial(stubborn, first.endpoint()));
    Values values;
    run(read_all(stubborn, values));
    EXPECT_TRUE(values.empty());
}

}  // namespace
}  // namespace shoal::run
