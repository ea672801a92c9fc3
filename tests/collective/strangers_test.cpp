// What peers that nobody expects can do to a search for a group and to a round: nothing that lasts.
#include "collective/averager_harness.h"
#include "collective/mutating_network.h"

#include <gtest/gtest.h>
#include <shoal/proto/collective.pb.h>

#include "shoal/base/error.h"
#include "shoal/collective/group_matching.h"
#include "shoal/collective/round_book.h"
#include "shoal/net/rpc.h"

namespace shoal::collective {
namespace {

using namespace std::chrono_literals;

/// A swarm of four, and hostile peers beside it.
struct Siege {
    explicit Siege(std::uint64_t seed) : swarm(seed), tasks(swarm.simulation().executor()) {
        for (int i = 0; i < 4; ++i) swarm.add(Role::full, i + 1);
    }
    ~Siege() {
        tasks.cancel();
        swarm.simulation().run_for(10s);
    }
    std::shared_ptr<net::Network> add_stranger() {
        return swarm.internet().join(test_peer(900'000 + ++strangers));
    }
    Clock& clock(const std::shared_ptr<net::Network>& network) {
        return swarm.internet().clock(network->self());
    }
    void expect_one_average_of_all() {
        for (std::size_t i = 0; i < 4; ++i) {
            ASSERT_EQ(swarm[i].history.size(), 1U);
            EXPECT_EQ(swarm[i].verdict->outcome, Verdict::Outcome::averaged) << swarm[i].verdict->cause;
            EXPECT_EQ(swarm[i].verdict->contributors.size(), 4U);
        }
    }
    AveragerSwarm swarm;
    TaskGroup tasks;
    std::uint64_t strangers = 0;
};

Join join_of(const PeerId& peer, Step step, unsigned attempt) {
    Join join;
    join.peer = peer;
    join.step = step;
    join.attempt = attempt;
    join.weight = 1;
    join.elements = 20000;
    join.codec = "fp32";
    join.nonce = attempt;
    return join;
}

awaitable<net::StreamPointer> send_join(std::shared_ptr<net::Network> from, PeerId to, Join join) {
    net::StreamPointer stream = co_await from->open(to, "test/match");
    proto::MatchRequest request;
    request.mutable_join()->ParseFromString(sign_join(join, "test", nullptr));
    const Bytes bytes = net::to_control(request);
    co_await stream->write(bytes, ByteView());
    co_return stream;
}

// --- streams ---

awaitable<void> occupy(std::shared_ptr<net::Network> from, Clock& clock, PeerId to, std::string service) {
    for (;;) {
        try {
            std::string name = service;
            const net::StreamPointer stream = co_await from->open(to, std::move(name));
            proto::ReduceHello hello;
            hello.set_round(std::string(16, 'x'));
            const Bytes bytes = net::to_control(hello);
            co_await stream->write(bytes, ByteView());
            co_await stream->read();
        } catch (const Error& error) {
            if (error.kind() == ErrorKind::cancelled) throw;
        }
        co_await clock.sleep_for(20ms);
    }
}

TEST(Strangers, that_fill_the_waiting_room_keep_no_member_out) {
    constexpr std::size_t kMany = kMaximumWaitingStreams / kMaximumWaitingStreamsOfOne + 4;
    for (const std::string service : {"test/vote", "test/reduce"}) {
        SCOPED_TRACE(service);
        Siege siege(1);
        for (std::size_t k = 0; k < kMany; ++k) {
            const auto stranger = siege.add_stranger();
            for (std::size_t i = 0; i < kMaximumWaitingStreamsOfOne; ++i)
                siege.tasks.spawn(occupy(stranger, siege.clock(stranger), siege.swarm[0].id, service));
        }
        siege.swarm.simulation().run_for(2s);
        siege.swarm.start_all();
        ASSERT_TRUE(siege.swarm.finish(60s));
        siege.expect_one_average_of_all();
    }
}

// --- attempts ---

awaitable<void> raise_for_ever(std::shared_ptr<net::Network> from, Clock& clock, PeerId to) {
    for (unsigned attempt = 100;; ++attempt) {  // one that nobody comes to
        try {
            const Join join = join_of(from->self(), static_cast<Step>(1), attempt);
            const net::StreamPointer stream = co_await send_join(from, to, join);
            co_await clock.sleep_for(10ms);
        } catch (const Error& error) {
            if (error.kind() == ErrorKind::cancelled) throw;
        }
        co_await clock.sleep_for(1ms);
    }
}

TEST(Strangers, do_not_raise_the_attempt) {
    for (std::uint64_t seed = 1; seed <= 3; ++seed) {
        SCOPED_TRACE("seed " + std::to_string(seed));
        Siege siege(seed);
        for (int k = 0; k < 3; ++k) {
            const auto stranger = siege.add_stranger();
            for (std::size_t i = 0; i < 4; ++i)
                siege.tasks.spawn(raise_for_ever(stranger, siege.clock(stranger), siege.swarm[i].id));
        }
        siege.swarm.simulation().run_for(100ms);
        siege.swarm.start_all();
        ASSERT_TRUE(siege.swarm.finish(60s));
        siege.expect_one_average_of_all();
        EXPECT_EQ(siege.swarm[0].verdict->attempt, 0U);
    }
}

TEST(Attempts, are_raised_by_one_known_peer_no_further_than_its_bound) {
    for (std::uint64_t seed = 1; seed <= 3; ++seed) {
        SCOPED_TRACE("seed " + std::to_string(seed));
        Siege siege(seed);
        const auto hostile = siege.swarm.add(Role::full, 1).network;  // expected, and not what it seems
        for (std::size_t i = 0; i < 4; ++i)
            siege.tasks.spawn(raise_for_ever(hostile, siege.clock(hostile), siege.swarm[i].id));
        for (std::size_t i = 0; i < 4; ++i) siege.swarm.start(i);
        ASSERT_TRUE(siege.swarm.finish(60s));
        siege.expect_one_average_of_all();
        EXPECT_EQ(siege.swarm[0].verdict->attempt, kRaiseByFew);
    }
}

TEST(Attempts, are_taken_up_however_far_from_most) {
    AveragerSwarm swarm(13);
    for (int i = 0; i < 4; ++i) swarm.add();
    for (std::size_t i = 0; i < 4; ++i) swarm.start(i, Step{1}, i == 1 ? 0 : 1000);
    ASSERT_TRUE(swarm.finish());
    for (std::size_t i = 0; i < 4; ++i) {
        EXPECT_EQ(swarm[i].verdict->outcome, Verdict::Outcome::averaged) << swarm[i].verdict->cause;
        EXPECT_EQ(swarm[i].verdict->contributors.size(), 4U);
        EXPECT_EQ(swarm[i].verdict->attempt, 1000U);
    }
}

// --- steps ---

awaitable<void> stay_joined(std::shared_ptr<net::Network> from, PeerId to, Step step) {
    const net::StreamPointer stream = co_await send_join(from, to, join_of(from->self(), step, 0));
    for (std::optional<net::Message> message = net::Message(); message;) message = co_await stream->read();
}

TEST(Strangers, that_claim_a_later_step_end_no_search) {
    Siege siege(2);
    for (int k = 0; k < 8; ++k) {
        const auto stranger = siege.add_stranger();
        for (std::size_t i = 0; i < 4; ++i)
            siege.tasks.spawn(stay_joined(stranger, siege.swarm[i].id, Step{9}));
    }
    siege.swarm.simulation().run_for(100ms);
    siege.swarm.start_all();
    ASSERT_TRUE(siege.swarm.finish(60s));
    siege.expect_one_average_of_all();
}

// --- the lead ---

/// Offers to lead, and to take part in another attempt only.
awaitable<void> come_and_go(std::shared_ptr<net::Network> from, Clock& clock, PeerId to) {
    for (;;) {
        try {
            const Join join = join_of(from->self(), static_cast<Step>(1), 9);
            const net::StreamPointer stream = co_await send_join(from, to, join);
            co_await clock.sleep_for(300ms);
        } catch (const Error& error) {
            if (error.kind() == ErrorKind::cancelled) throw;
        }
    }
}

awaitable<void> end_soon(Clock& clock, net::StreamPointer stream) {
    co_await stream->read();
    co_await clock.sleep_for(900ms);
    stream->reset("later");
}

awaitable<void> hold_for_ever(Clock& clock, net::StreamPointer stream) {
    co_await stream->read();
    for (;;) {
        proto::MatchReply reply;
        reply.mutable_hold()->set_ready(true);
        const Bytes bytes = net::to_control(reply);
        co_await stream->write(bytes, ByteView());
        co_await clock.sleep_for(1s);
    }
}

/// Strangers, each better than every honest peer in the order of candidates.
std::vector<std::shared_ptr<net::Network>> add_better_strangers(Siege& siege, std::size_t count) {
    std::vector<std::shared_ptr<net::Network>> better;
    while (better.size() < count) {
        const PeerId id = test_peer(900'000 + ++siege.strangers);
        bool best = true;
        for (std::size_t i = 0; i < 4; ++i)
            best = best && leader_rank(id, Step{1}, 0) < leader_rank(siege.swarm[i].id, Step{1}, 0);
        if (best) better.push_back(siege.swarm.internet().join(id));
    }
    return better;
}

void expect_search_ends_at_its_bound(Siege& siege) {
    siege.swarm.simulation().run_for(100ms);
    siege.swarm.start_all();
    // Beyond the second that the swarm's peers promise each other.
    const Duration bound = kLongestHoldOfStrangers * AveragerSettings().join_timeout;
    EXPECT_FALSE(siege.swarm.finish(bound)) << "they did not hold the others at all";
    ASSERT_TRUE(siege.swarm.finish(3s));
    siege.expect_one_average_of_all();
}

TEST(Strangers, that_offer_to_lead_and_only_wait_hold_a_search_once_however_many_they_are) {
    Siege siege(3);
    for (const auto& stranger : add_better_strangers(siege, 6)) {
        Clock& clock = siege.clock(stranger);
        stranger->serve("test/match", [&clock](net::StreamPointer s) { return hold_for_ever(clock, s); });
        for (std::size_t i = 0; i < 4; ++i)
            siege.tasks.spawn(come_and_go(stranger, clock, siege.swarm[i].id));
    }
    expect_search_ends_at_its_bound(siege);
}

TEST(Strangers, that_offer_to_lead_and_come_and_go_hold_a_search_once) {
    Siege siege(3);
    for (const auto& stranger : add_better_strangers(siege, 6)) {
        Clock& clock = siege.clock(stranger);
        stranger->serve("test/match", [&clock](net::StreamPointer s) { return end_soon(clock, s); });
        for (std::size_t i = 0; i < 4; ++i)
            siege.tasks.spawn(come_and_go(stranger, clock, siege.swarm[i].id));
    }
    expect_search_ends_at_its_bound(siege);
}

// --- large joins ---

TEST(Strangers, cannot_make_a_begin_too_large_to_send) {
    Siege siege(4);
    const auto stranger = siege.add_stranger();
    const auto join_with_ballast = [&](std::size_t bytes) {
        proto::SignedJoin join;
        join.ParseFromString(sign_join(join_of(stranger->self(), Step{1}, 0), "test", nullptr));
        join.set_public_key(std::string(bytes, 'b'));  // nobody looks at it in a swarm that does not sign
        return join;
    };
    const auto send = [](std::shared_ptr<net::Network> from, PeerId to,
                         proto::SignedJoin join) -> awaitable<void> {
        const net::StreamPointer stream = co_await from->open(to, "test/match");
        proto::MatchRequest request;
        *request.mutable_join() = std::move(join);
        const Bytes bytes = net::to_control(request);
        co_await stream->write(bytes, ByteView());
        for (std::optional<net::Message> message = net::Message(); message;)
            message = co_await stream->read();
    };
    for (std::size_t i = 0; i < 4; ++i)
        siege.tasks.spawn(send(stranger, siege.swarm[i].id, join_with_ballast(255'000)));
    siege.swarm.simulation().run_for(100ms);
    siege.swarm.start_all();
    ASSERT_TRUE(siege.swarm.finish(60s));
    siege.expect_one_average_of_all();
}

// --- members ---

awaitable<void> refuse_and_count(std::shared_ptr<int> count, net::StreamPointer stream) {
    ++*count;
    stream->reset("not now");
    co_return;
}

TEST(Members, that_end_each_stream_of_the_vote_are_asked_now_and_then_only) {
    Siege siege(1);
    const auto hostile = siege.swarm.add(Role::full, 1).network;
    const auto count = std::make_shared<int>(0);
    hostile->serve("test/vote", [count](net::StreamPointer s) { return refuse_and_count(count, s); });
    for (std::size_t i = 0; i < 4; ++i) siege.tasks.spawn(stay_joined(hostile, siege.swarm[i].id, Step{1}));
    siege.swarm.simulation().run_for(100ms);
    for (std::size_t i = 0; i < 4; ++i) siege.swarm.start(i);
    ASSERT_TRUE(siege.swarm.finish(60s));
    for (std::size_t i = 0; i < 4; ++i)
        EXPECT_EQ(siege.swarm[i].verdict->lost, std::vector<PeerId>{hostile->self()});
    EXPECT_GE(*count, 1);
    EXPECT_LE(*count, 4 * 20);  // one at once, four more, and one each T/4 for some T
}

TEST(Members, that_fail_two_rounds_of_a_step_are_left_out_of_the_third) {
    for (std::uint64_t seed = 1; seed <= 6; ++seed) {
        SCOPED_TRACE("seed " + std::to_string(seed));
        AveragerSwarm swarm(seed);
        swarm.retry = true;
        for (int i = 0; i < 4; ++i) swarm.add(Role::full, i + 1);
        const Mutation spoil = [](const std::string& service, bool opened, net::Message& message) {
            if (opened && service.ends_with("/reduce") && !message.payload.empty())
                message.payload.pop_back();
        };
        const PeerId hostile = swarm
                                   .add(Role::full, 2, 0, {},
                                        [spoil](std::shared_ptr<net::Network> real) {
                                            return std::make_shared<MutatingNetwork>(std::move(real), spoil);
                                        })
                                   .id;
        swarm.start_all();
        ASSERT_TRUE(swarm.simulation().run_until(
            [&] {
                for (std::size_t i = 0; i < 4; ++i)
                    if (swarm[i].running) return false;
                return true;
            },
            60s));
        for (std::size_t i = 0; i < 4; ++i) {
            const std::vector<Verdict>& history = swarm[i].history;
            ASSERT_GE(history.size(), 2U);
            ASSERT_LE(history.size(), kFailuresOfOneStep + 1);
            for (std::size_t k = 0; k + 1 < history.size(); ++k)
                EXPECT_EQ(history[k].lost, std::vector<PeerId>{hostile});
            EXPECT_EQ(history.back().outcome, Verdict::Outcome::averaged) << history.back().cause;
            EXPECT_EQ(history.back().contributors.size(), 4U);
        }
    }
}

TEST(Members, are_only_those_who_may_take_part) {
    for (std::uint64_t seed = 1; seed <= 6; ++seed) {
        SCOPED_TRACE("seed " + std::to_string(seed));
        AveragerSwarm swarm(seed);
        for (int i = 0; i < 5; ++i) swarm.add(Role::full, i + 1);
        const PeerId unknown = swarm[4].id;
        swarm.hidden.insert(unknown);
        swarm.start(4);
        swarm.simulation().run_for(50ms);
        swarm.may_take_part = [unknown](const PeerId& peer) { return peer != unknown; };
        for (std::size_t i = 0; i < 4; ++i) swarm.start(i);
        ASSERT_TRUE(swarm.finish(60s));
        for (std::size_t i = 0; i < 4; ++i) {
            EXPECT_EQ(swarm[i].verdict->outcome, Verdict::Outcome::averaged) << swarm[i].verdict->cause;
            EXPECT_EQ(swarm[i].verdict->contributors.size(), 4U);
        }
        EXPECT_NE(swarm[4].verdict->outcome, Verdict::Outcome::averaged);
    }
}

}  // namespace
}  // namespace shoal::collective
