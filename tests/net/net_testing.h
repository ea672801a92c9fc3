// What the tests of net share: running coroutines, making networks on loopback, and waiting for a condition.
#pragma once

#include <asio/detached.hpp>
#include <asio/io_context.hpp>
#include <exception>
#include <functional>
#include <gtest/gtest.h>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "shoal/base/async.h"
#include "shoal/net/network.h"
#include "shoal/net/rpc.h"
#include "shoal/net/tcp_network.h"

namespace shoal::net::testing {

using namespace std::chrono_literals;

/// Nothing in a test takes this long; a wait that does ends the test with an error instead of a hang.
inline constexpr Duration kPatience = 30s;

/// A context, a clock, and the networks of a test.
class World {
  public:
    asio::io_context context;
    RealClock clock;

    /// Runs a coroutine to its end and throws what it threw.
    void run(awaitable<void> task) {
        std::exception_ptr failure;
        bool ended = false;
        awaitable<void> bounded = with_deadline(clock, clock.now() + kPatience, std::move(task), "the test");
        asio::co_spawn(context, std::move(bounded), [&](std::exception_ptr error) {
            failure = std::move(error);
            ended = true;
            context.stop();
        });
        context.restart();
        context.run();
        if (failure) std::rethrow_exception(failure);
        EXPECT_TRUE(ended);
    }

    static KeyPair key(int number) {
        Bytes seed(32, static_cast<std::uint8_t>(number));
        return KeyPair::from_seed(seed);
    }
    static PeerId id(int number) { return key(number).peer_id(); }

    static NetworkSettings settings() {
        NetworkSettings s;
        s.listen_host = "127.0.0.1";
        return s;
    }

    std::shared_ptr<Network> make(int number, NetworkSettings s = settings()) {
        return make_tcp_network(context.get_executor(), clock, key(number), std::move(s), Log());
    }

    TimePoint soon() { return clock.now() + kPatience; }
};

inline Endpoint endpoint_of(const Network& network) {
    Endpoint endpoint;
    endpoint.host = "127.0.0.1";
    endpoint.port = listen_port(network);
    return endpoint;
}

/// Lets `network` find `other`.
inline void introduce(Network& network, std::vector<std::pair<PeerId, Endpoint>> book) {
    network.set_resolver([book = std::move(book)](PeerId peer) -> awaitable<std::vector<Endpoint>> {
        struct Lookup {
            static awaitable<std::vector<Endpoint>> answer(std::vector<Endpoint> found) { co_return found; }
        };
        std::vector<Endpoint> found;
        for (const auto& [id, endpoint] : book)
            if (id == peer) found.push_back(endpoint);
        return Lookup::answer(std::move(found));
    });
}

/// Waits until the condition holds, looking after each turn of the executor.
inline awaitable<void> until(std::function<bool()> condition) {
    const asio::any_io_executor executor = co_await asio::this_coro::executor;
    while (!condition()) {
        asio::steady_timer turn(executor, std::chrono::milliseconds(1));
        co_await turn.async_wait(asio::use_awaitable);
    }
}

inline awaitable<Message> echo(PeerId, Message request) {
    co_return request;
}

inline Bytes pattern(std::size_t size, std::uint32_t seed = 1) {
    Bytes bytes(size);
    std::uint32_t value = seed * 2654435761U + 1;
    for (std::uint8_t& byte : bytes) {
        value = value * 1664525U + 1013904223U;
        byte = static_cast<std::uint8_t>(value >> 24);
    }
    return bytes;
}

/// The error that a coroutine ends with; a test failure if there is none.
template <typename T>
awaitable<Error> error_of(awaitable<T> operation) {
    std::optional<Error> caught;
    try {
        (void)co_await std::move(operation);
    } catch (const Error& error) {
        caught = error;
    }
    if (!caught) {
        ADD_FAILURE() << "no error";
        caught = Error(ErrorKind::invalid_argument, "no error");
    }
    co_return *caught;
}

inline bool contains(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
}

}  // namespace shoal::net::testing
