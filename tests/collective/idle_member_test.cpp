// Members that live and keep the protocol's manners, but do not do their part: nobody waits for them for
// ever.
#include "collective/averager_harness.h"
#include "collective/mutating_network.h"

#include <gtest/gtest.h>
#include <shoal/proto/collective.pb.h>

#include "shoal/base/error.h"
#include "shoal/collective/group_matching.h"
#include "shoal/collective/lineage.h"
#include "shoal/collective/round_messages.h"
#include "shoal/collective/round_vote.h"
#include "shoal/net/rpc.h"

namespace shoal::collective {
namespace {

using namespace std::chrono_literals;

constexpr double kStall = 1.5;  // AveragerSettings::stall_timeout

AveragerSwarm::Between changing_votes(std::function<void(proto::RoundMessage&)> change) {
    const Mutation mutation = [change](const std::string& service, bool, net::Message& message) {
        if (!service.ends_with("/vote")) return;
        proto::RoundMessage round;
        if (!round.ParseFromArray(message.control.data(), static_cast<int>(message.control.size()))) return;
        change(round);
        message.control = net::to_control(round);
    };
    return [mutation](std::shared_ptr<net::Network> real) {
        return std::make_shared<MutatingNetwork>(std::move(real), mutation);
    };
}

AveragerSwarm::Between never_complete() {
    return changing_votes([](proto::RoundMessage& round) {
        if (!round.has_observation()) return;
        round.mutable_observation()->set_complete(false);
        round.mutable_observation()->clear_digests();
    });
}

bool is_leader_of(const AveragerSwarm::Peer& peer, AveragerSwarm& swarm, std::size_t peers) {
    for (std::size_t i = 0; i < peers; ++i)
        if (swarm[i].id != peer.id && leader_rank(swarm[i].id, Step{1}, 0) < leader_rank(peer.id, Step{1}, 0))
            return false;
    return true;
}

TEST(IdleMember, OneThatNeverSaysItIsCompleteIsLeftAtTheBound) {
    for (std::uint64_t seed = 1; seed <= 6; ++seed) {
        SCOPED_TRACE("seed " + std::to_string(seed));
        AveragerSwarm swarm(seed);
        for (int i = 0; i < 4; ++i) swarm.add(Role::full, i + 1);
        const PeerId idle = swarm.add(Role::full, 2, 0, {}, never_complete()).id;
        if (is_leader_of(swarm[4], swarm, 5)) continue;  // a leader needs no messages to itself
        swarm.start_all();
        ASSERT_TRUE(swarm.finish(60s));
        for (std::size_t i = 0; i < 4; ++i) {
            const Verdict& verdict = *swarm[i].verdict;
            EXPECT_EQ(verdict.outcome, Verdict::Outcome::failed);
            EXPECT_EQ(verdict.lost, std::vector<PeerId>{idle});
            EXPECT_NE(verdict.cause.find("is not done long after the others"), std::string::npos);
            const double bound = kVotePatience * (verdict.report.reduce_seconds + kStall);
            EXPECT_GE(verdict.report.vote_seconds, kVotePatience * kStall);
            EXPECT_LE(verdict.report.vote_seconds, bound + kStall);
        }
    }
}

/// Two peers that dial each other at once have two connections; one of them carries everything.
AveragerSwarm::Between with_two_connections_each() {
    return [](std::shared_ptr<net::Network> real) {
        const MutatingNetwork::View view = [](std::vector<net::ConnectionInfo>& connections) {
            const std::vector<net::ConnectionInfo> once = connections;
            for (net::ConnectionInfo second : once) {
                second.dialled_by_us = !second.dialled_by_us;
                second.bytes_sent = second.bytes_delivered = second.bytes_received = 0;
                connections.push_back(std::move(second));
            }
        };
        const Mutation nothing = [](const std::string&, bool, net::Message&) {};
        return std::make_shared<MutatingNetwork>(std::move(real), nothing, view);
    };
}

TEST(IdleMember, OneThatFreezesBeforeItSaysItIsCompleteIsNoticedAfterAStallTimeout) {
    for (std::uint64_t seed = 1; seed <= 6; ++seed) {
        SCOPED_TRACE("seed " + std::to_string(seed));
        AveragerSwarm swarm(seed);
        for (int i = 0; i < 4; ++i) swarm.add(Role::full, i + 1, 0, {}, with_two_connections_each());
        const auto freeze = [&swarm](proto::RoundMessage& round) {
            if (!round.has_observation() || !round.observation().complete()) return;
            round.mutable_observation()->set_complete(false);
            swarm.internet().freeze(swarm[4].id);
        };
        swarm.add(Role::full, 2, 0, {}, changing_votes(freeze));
        if (is_leader_of(swarm[4], swarm, 5)) continue;
        swarm.start_all();
        ASSERT_TRUE(swarm.finish(60s));
        ASSERT_TRUE(swarm.stopped(4));
        for (std::size_t i = 0; i < 4; ++i) {
            const Verdict& verdict = *swarm[i].verdict;
            EXPECT_EQ(verdict.outcome, Verdict::Outcome::failed);
            EXPECT_EQ(verdict.lost, std::vector<PeerId>{swarm[4].id});
            EXPECT_LE(verdict.report.vote_seconds, 2 * kStall);
        }
    }
}

TEST(IdleMember, LeaderThatLivesAndProposesNothingIsReplaced) {
    int led = 0;
    for (std::uint64_t seed = 1; seed <= 20; ++seed) {
        SCOPED_TRACE("seed " + std::to_string(seed));
        AveragerSwarm swarm(seed);
        for (int i = 0; i < 3; ++i) swarm.add(Role::full, i + 1);
        swarm.add(Role::full, 2, 0, {}, changing_votes([](proto::RoundMessage& round) {
                      if (round.has_vote()) round.mutable_vote()->set_kind(proto::VoteMessage::ALIVE);
                  }));
        if (!is_leader_of(swarm[3], swarm, 4)) continue;
        ++led;
        swarm.start_all();
        ASSERT_TRUE(swarm.finish(120s));
        for (std::size_t i = 0; i < 3; ++i) {
            EXPECT_EQ(swarm[i].verdict->outcome, Verdict::Outcome::failed) << swarm[i].verdict->cause;
            EXPECT_LE(swarm[i].verdict->report.vote_seconds,
                      kVotePatience * (swarm[i].verdict->report.reduce_seconds + kStall) + 8 * kStall);
        }
    }
    EXPECT_GE(led, 2);
}

/// It promises, accepts and reports as it should, and asks for the promise of each ballot that it likes.
TEST(IdleMember, OneThatClaimsTheHighestBallotsStopsNoDecision) {
    for (const bool again : {false, true}) {
        for (std::uint64_t seed = 1; seed <= 8; ++seed) {
            SCOPED_TRACE("seed " + std::to_string(seed) + (again ? ", again and again" : ", once"));
            AveragerSwarm swarm(seed);
            auto index = std::make_shared<std::uint32_t>(0);
            auto number = std::make_shared<std::uint32_t>(again ? 1 : 1U << 30U);
            for (int i = 0; i < 4; ++i) swarm.add(Role::full, i + 1);
            const auto prepare = [index, number, again](proto::RoundMessage& round) {
                proto::VoteMessage& vote = *round.mutable_vote();
                vote.Clear();
                vote.set_kind(proto::VoteMessage::PREPARE);
                vote.mutable_ballot()->set_number(again ? (*number)++ : *number);
                vote.mutable_ballot()->set_member(*index);
            };
            const PeerId hostile = swarm.add(Role::full, 2, 0, {}, changing_votes(prepare)).id;
            for (std::size_t i = 0; i < 4; ++i) *index += swarm[i].id < hostile ? 1 : 0;
            for (std::size_t i = 0; i < 5; ++i) swarm.start(i);
            ASSERT_TRUE(swarm.simulation().run_until(
                [&] {
                    return !swarm[0].running && !swarm[1].running && !swarm[2].running && !swarm[3].running;
                },
                120s));
            for (std::size_t i = 0; i < 4; ++i)
                EXPECT_NE(swarm[i].verdict->outcome, Verdict::Outcome::cut_off) << swarm[i].verdict->cause;
        }
    }
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

TEST(IdleMember, CandidateThatOnlySaysThatItWaitsIsPassedOver) {
    int led = 0;
    for (std::uint64_t seed = 1; seed <= 16; ++seed) {
        SCOPED_TRACE("seed " + std::to_string(seed));
        AveragerSwarm swarm(seed);
        for (int i = 0; i < 4; ++i) swarm.add(Role::full, i + 1);
        AveragerSwarm::Peer& hostile = swarm.add(Role::full, 2);
        if (!is_leader_of(hostile, swarm, 5)) continue;
        ++led;
        Clock& clock = swarm.internet().clock(hostile.id);
        hostile.network->serve("test/match",
                               [&clock](net::StreamPointer s) { return hold_for_ever(clock, std::move(s)); });
        for (std::size_t i = 0; i < 4; ++i) swarm.start(i);
        const Duration bound = kLongestHold * AveragerSettings().join_timeout;
        EXPECT_FALSE(swarm.finish(bound - 1s));
        ASSERT_TRUE(swarm.finish(10s));
        for (std::size_t i = 0; i < 4; ++i) {
            EXPECT_EQ(swarm[i].verdict->outcome, Verdict::Outcome::averaged) << swarm[i].verdict->cause;
            EXPECT_EQ(swarm[i].verdict->contributors.size(), 4U);
        }
    }
    EXPECT_GE(led, 1);
}

TEST(LargestGroup, HasABeginThatFitsInAMessage) {
    std::vector<Join> joins;
    std::vector<KeyPair> keys;
    std::vector<std::uint64_t> numbers;
    for (std::size_t i = 0; i < kLargestGroup; ++i) keys.push_back(KeyPair::generate());
    for (const KeyPair& key : keys) numbers.push_back(member_number(key.peer_id()));
    std::sort(numbers.begin(), numbers.end());
    for (const KeyPair& key : keys) {
        Join join;
        join.peer = key.peer_id();
        join.weight = 8.125;
        join.upload = join.download = 12345.678;
        join.pieces.assign(compress::kMaximumPieces, (1U << 30U) / compress::kMaximumPieces);
        for (std::size_t i = 0; i < kMaximumObjections; ++i) {
            Objection objection;
            objection.member = numbers[i];
            objection.upload = objection.download = 12345.678;
            join.objections.push_back(objection);
        }
        join.elements = std::size_t{1} << 30;
        join.codec = "blockwise8";
        join.step = Step{1 << 30};
        join.attempt = 1 << 20;
        join.nonce = ~std::uint64_t{0};
        join.last_members = numbers;
        join.last_round.fill(255);
        join.signed_bytes = sign_join(join, std::string(64, 'r'), &key);
        joins.push_back(std::move(join));
    }
    const std::string begin = make_begin(keys[0].peer_id(), 1, joins, 65536, &keys[0]);
    EXPECT_LE(begin.size(), net::kMaximumControlBytes - 4096);  // a reply has a little more around it
}

TEST(LargestGroup, OfTheLongestJoinsFitsInAMessageWithAllThatAMemberSaw) {
    AveragerSettings settings;
    settings.run = "test";
    const JoinLimits limits(settings);
    std::vector<Join> joins;
    const auto padded = [](Join join, std::size_t bytes) {
        proto::SignedJoin longer;
        longer.ParseFromString(sign_join(join, "test", nullptr));
        longer.set_public_key(std::string(bytes, 'k'));  // nobody looks at it in a swarm that does not sign
        join.signed_bytes = longer.SerializeAsString();
        return join;
    };
    for (std::uint64_t i = 0; i < kLargestGroup; ++i) {
        Join join;
        join.peer = test_peer(i);
        join.elements = 1000;
        join.codec = "fp32";
        std::size_t bytes = kMaximumJoinBytes;
        while (padded(join, bytes).signed_bytes.size() > kMaximumJoinBytes) --bytes;
        EXPECT_THROW(check_join(padded(join, bytes + 1).signed_bytes, limits), Error);
        joins.push_back(check_join(padded(join, bytes).signed_bytes, limits));
        EXPECT_EQ(joins.back().signed_bytes.size(), kMaximumJoinBytes);
    }
    RoundMessage message;
    message.begin = make_begin(joins[0].peer, ~std::uint64_t{0}, joins, 65536, nullptr);
    message.round = RoundId{};
    message.observation = Observation();
    message.observation->complete = true;
    for (std::size_t i = 0; i < kLargestGroup; ++i) {
        message.observation->digests.push_back({~std::uint64_t{0}, ~std::uint64_t{0}});
        message.observation->blames.push_back({i, std::string(300, 'b')});
    }
    message.vote = VoteMessage();
    message.vote->value = VoteValue();
    message.vote->value->cause.assign(300, 'c');
    EXPECT_LE(encode_round_message(message).size(), net::kMaximumControlBytes);
}

TEST(LargestGroup, IsHeldByTheAverager) {
    sim::Simulation simulation(1);
    sim::SimulatedInternet internet(simulation);
    const PeerId id = test_peer(1);
    const auto network = internet.join(id, {});
    AveragerSettings settings;
    settings.run = "test";
    settings.maximum_group = kLargestGroup;
    EXPECT_NO_THROW(make_averager(*network, internet.clock(id), Random(1), settings, Log()));
    settings.maximum_group = kLargestGroup + 1;
    EXPECT_THROW(make_averager(*network, internet.clock(id), Random(1), settings, Log()), Error);
}

}  // namespace
}  // namespace shoal::collective
