// The same method by several peers, over any network, and what each of them ends with.
#pragma once

#include "variational/small_problems.h"

#include <optional>

#include "shoal/net/network.h"
#include "shoal/variational/peer_exchange.h"

namespace shoal::variational {

/// How it went for one peer.
struct PeerOutcome {
    std::optional<Trajectory> trajectory;
    std::exception_ptr failure;
    std::uint64_t payload_sent = 0;
};

/// Connects, agrees on the task, runs the method, and leaves. Never throws.
inline awaitable<void> take_part(net::Network& network, Clock& clock, PeerExchangeSettings peers,
                                 const Problem& problem, MethodSettings settings, StopRule rule,
                                 std::string task, PeerOutcome& outcome) {
    try {
        PeerExchange exchange(network, clock, std::move(peers));
        co_await exchange.connect();
        co_await exchange.agree(task);
        const std::unique_ptr<Method> method = make_method(problem, exchange, settings);
        ErrorMeasure error = distance_to(*problem.solution(), problem.start());
        outcome.trajectory = co_await run_method(*method, rule, error, nullptr);
        co_await exchange.leave();
        outcome.payload_sent = exchange.payload_sent();
    } catch (...) {
        outcome.failure = std::current_exception();
    }
}

/// Every point that was kept, and the last one, bit by bit.
inline void expect_same_way(const Trajectory& peer, const Trajectory& twin) {
    ASSERT_EQ(peer.way.size(), twin.way.size());
    for (std::size_t i = 0; i < twin.way.size(); ++i) {
        EXPECT_EQ(peer.way[i].error, twin.way[i].error) << "after " << twin.way[i].iteration;
        EXPECT_TRUE(peer.way[i].traffic == twin.way[i].traffic) << "after " << twin.way[i].iteration;
    }
    EXPECT_EQ(peer.point, twin.point);
}

}  // namespace shoal::variational
