// Strangers and liars: whatever they send, no correct peer crashes, and nothing wrong reaches a result.
#include "averager_harness.h"
#include "mutation.h"

#include <algorithm>
#include <cstring>
#include <gtest/gtest.h>
#include <limits>
#include <shoal/proto/collective.pb.h>

#include "shoal/collective/round_messages.h"
#include "shoal/collective/round_plan.h"
#include "shoal/collective/work_split.h"
#include "shoal/net/rpc.h"

namespace shoal::collective {
namespace {

using namespace std::chrono_literals;

AveragerSettings test_settings() {
    AveragerSettings settings;
    settings.run = "test";
    return settings;
}

Join test_join(const PeerId& peer, std::size_t elements) {
    Join join;
    join.peer = peer;
    join.step = Step{1};
    join.role = Role::client;
    join.weight = 1;
    join.elements = elements;
    join.codec = "fp32";
    return join;
}

Bytes random_bytes(Random& random, std::size_t maximum) {
    Bytes bytes(random.below(maximum + 1));
    for (std::uint8_t& byte : bytes) byte = static_cast<std::uint8_t>(random.below(256));
    return bytes;
}

Bytes match_request(const std::string& signed_join) {
    proto::MatchRequest request;
    request.mutable_join()->ParseFromString(signed_join);
    return net::to_control(request);
}

/// Opens streams to a peer and sends nonsense, some of it nearly right.
awaitable<void> babble(std::shared_ptr<net::Network> network, PeerId to, std::uint64_t seed) {
    Random random(seed);
    const std::string join = sign_join(test_join(network->self(), 20000), "another run", nullptr);
    proto::ReduceHello hello;
    hello.set_round(std::string(16, 'r'));
    RoundMessage vote;
    vote.round = RoundId{};
    vote.vote = VoteMessage();
    vote.vote->kind = VoteMessage::Kind::decided;
    vote.vote->value = VoteValue();
    const std::vector<std::pair<std::string, Bytes>> models = {{"test/match", match_request(join)},
                                                               {"test/reduce", net::to_control(hello)},
                                                               {"test/vote", encode_round_message(vote)}};
    for (int k = 0; k < 60; ++k) {
        try {
            const auto& [service, model] = models[random.below(models.size())];
            std::string name = service;
            const net::StreamPointer stream = co_await network->open(to, std::move(name));
            for (std::uint64_t messages = 1 + random.below(3); messages > 0; --messages) {
                const Bytes control =
                    random.below(4) == 0 ? random_bytes(random, 200) : mutated(random, model);
                const Bytes payload = random_bytes(random, 300);
                co_await stream->write(control, payload);
            }
            if (random.below(2) == 0) stream->finish();
            if (random.below(2) == 0) co_await stream->read();
        } catch (const Error& error) {
            if (error.kind() == ErrorKind::cancelled) throw;
        }
    }
}

TEST(AveragerMessages, strangers_change_nothing) {
    for (std::uint64_t seed = 1; seed <= 20; ++seed) {
        SCOPED_TRACE(seed);
        AveragerSwarm swarm(seed);
        for (int i = 0; i < 3; ++i) swarm.add(Role::full, i + 1);
        const PeerId stranger = test_peer(999);
        const auto network = swarm.internet().join(stranger);
        for (std::size_t i = 0; i < 3; ++i)
            swarm.simulation().spawn(babble(network, swarm[i].id, seed * 10 + i));
        swarm.simulation().run_for(3ms);
        swarm.start_all();
        ASSERT_TRUE(swarm.finish());
        for (std::size_t i = 0; i < 3; ++i) {
            ASSERT_TRUE(swarm[i].verdict);
            EXPECT_EQ(swarm[i].verdict->outcome, Verdict::Outcome::averaged) << swarm[i].verdict->cause;
            EXPECT_EQ(swarm[i].verdict->contributors.size(), 3u);
            EXPECT_EQ(std::memcmp(swarm[i].result.data(), swarm[0].result.data(), 80000), 0);
        }
        EXPECT_LT(seconds(swarm.now().since_start), 1);
    }
}

enum class Lie { wrong_size, not_finite, nothing, too_much, garbage_votes };

/// A member that joins as it should and then does something else.
class Liar : public std::enable_shared_from_this<Liar> {
  public:
    Liar(AveragerSwarm& swarm, Lie lie)
        : lie_(lie), self_(test_peer(998)), network_(swarm.internet().join(self_)) {
        join_ = test_join(self_, 20000);
        join_.signed_bytes = sign_join(join_, "test", nullptr);
    }
    void start(AveragerSwarm& swarm) {
        for (std::size_t i = 0; i < swarm.size(); ++i)
            swarm.simulation().spawn(join(shared_from_this(), swarm[i].id));
    }
    const PeerId& id() const { return self_; }

  private:
    static awaitable<void> join(std::shared_ptr<Liar> self, PeerId to) {
        try {
            const net::StreamPointer stream = co_await self->network_->open(to, "test/match");
            const Bytes request = match_request(self->join_.signed_bytes);
            co_await stream->write(request, ByteView());
            for (;;) {
                const std::optional<net::Message> message = co_await stream->read();
                if (!message) co_return;
                const auto reply = net::parse_control<proto::MatchReply>(*message, to);
                if (!reply.has_begin()) continue;
                const std::string begin = reply.begin().SerializeAsString();
                co_await self->lie(begin);
                co_return;
            }
        } catch (const Error& error) {
            if (error.kind() == ErrorKind::cancelled) throw;
        }
    }

    awaitable<void> lie(std::string begin) {
        const compress::VectorFormat format("fp32");
        const JoinLimits limits(test_settings());
        const RoundPlan plan = read_begin(begin, join_, limits, format, 64);
        std::vector<net::StreamPointer> open;
        for (std::size_t owner = 0; owner < plan.members.size(); ++owner) {
            if (plan.shares[owner].empty()) continue;
            std::string service = lie_ == Lie::garbage_votes ? "test/vote" : "test/reduce";
            const net::StreamPointer stream =
                co_await network_->open(plan.members[owner].peer, std::move(service));
            open.push_back(stream);
            const Bytes hello = hello_of(plan);
            co_await stream->write(hello, ByteView());
            for (std::size_t chunk = 0; chunk < plan.chunks_of(owner) + 2; ++chunk) {
                const Bytes payload =
                    payload_of(plan.chunk(owner, chunk).size(), chunk >= plan.chunks_of(owner));
                if (payload.empty()) continue;
                if (lie_ == Lie::garbage_votes)
                    co_await stream->write(payload, ByteView());
                else
                    co_await stream->write(ByteView(), payload);
            }
        }
        for (const net::StreamPointer& stream : open) co_await stream->read();
    }

    Bytes hello_of(const RoundPlan& plan) const {
        if (lie_ == Lie::garbage_votes) {
            RoundMessage message;
            message.round = plan.id;
            return encode_round_message(message);
        }
        proto::ReduceHello hello;
        hello.set_round(plan.id.data(), plan.id.size());
        return net::to_control(hello);
    }

    Bytes payload_of(std::size_t elements, bool beyond) const {
        const bool sends = lie_ != Lie::nothing && (!beyond || lie_ == Lie::too_much);
        if (!sends) return {};
        const float value = lie_ == Lie::not_finite ? std::numeric_limits<float>::quiet_NaN() : 1.0f;
        const std::vector<float> values(beyond ? 4096 : elements, value);
        const ByteView bytes = as_bytes(std::span<const float>(values));
        Bytes payload(bytes.begin(), bytes.end());
        if (lie_ == Lie::wrong_size) payload.resize(payload.size() - 1);
        if (lie_ == Lie::garbage_votes) payload.assign(100, 0xee);
        return payload;
    }

    Lie lie_;
    PeerId self_;
    std::shared_ptr<net::Network> network_;
    Join join_;
};

TEST(AveragerMessages, members_that_lie_are_named_and_left_out) {
    for (const Lie lie :
         {Lie::wrong_size, Lie::not_finite, Lie::nothing, Lie::too_much, Lie::garbage_votes}) {
        for (std::uint64_t seed = 1; seed <= 5; ++seed) {
            SCOPED_TRACE(std::to_string(static_cast<int>(lie)) + " with seed " + std::to_string(seed));
            AveragerSwarm swarm(seed);
            swarm.retry = true;
            for (int i = 0; i < 3; ++i) swarm.add(Role::full, i + 1);
            const auto liar = std::make_shared<Liar>(swarm, lie);
            liar->start(swarm);
            swarm.simulation().run_for(10ms);
            swarm.start_all();
            ASSERT_TRUE(swarm.finish());
            for (std::size_t i = 0; i < 3; ++i) {
                const AveragerSwarm::Peer& peer = swarm[i];
                ASSERT_EQ(peer.history.size(), 2u) << peer.verdict->cause;
                EXPECT_EQ(peer.history[0].outcome, Verdict::Outcome::failed);
                EXPECT_EQ(peer.history[0].lost, std::vector<PeerId>{liar->id()}) << peer.history[0].cause;
                EXPECT_EQ(peer.history[1].outcome, Verdict::Outcome::averaged) << peer.history[1].cause;
                EXPECT_EQ(peer.history[1].contributors.size(), 3u);
            }
            EXPECT_LT(seconds(swarm.now().since_start), 3.5);
        }
    }
}

TEST(AveragerMessages, mutated_bytes_are_read_as_something_possible_or_refused) {
    Random random(1);
    AveragerSettings settings = test_settings();
    const auto key = std::make_shared<KeyPair>(KeyPair::from_seed(Bytes(32, 7)));
    std::vector<Join> joins;
    for (std::uint8_t i = 0; i < 3; ++i) {
        joins.push_back(test_join(test_peer(i), 10000));
        joins.back().role = Role::full;
        joins.back().signed_bytes = sign_join(joins.back(), "test", nullptr);
    }
    const compress::VectorFormat format("fp32");
    const JoinLimits limits(settings);
    const std::string begin = make_begin(joins[0].peer, 5, joins, 4096, nullptr);
    RoundMessage message;
    message.round = RoundId{1, 2, 3};
    message.vote = VoteMessage();
    message.vote->kind = VoteMessage::Kind::promise;
    message.vote->accepted_ballot = Ballot{3, 1};
    message.vote->value = VoteValue{false, "a cause", {0, 2}, {}};
    message.observation = Observation{true, {{1, 2}, {3, 4}, {5, 6}}, {{1, "why"}}};
    message.unheard = true;
    const Bytes vote_bytes = encode_round_message(message);
    EXPECT_TRUE(decode_round_message(vote_bytes, 3).unheard);
    std::size_t read = 0, refused = 0;
    for (int k = 0; k < 20000; ++k) {
        try {
            const auto text = [&random](const std::string& original) {
                const Bytes bytes = mutated(random, to_bytes(original));
                return std::string(bytes.begin(), bytes.end());
            };
            const Join join = check_join(text(joins[0].signed_bytes), limits);
            EXPECT_LE(join.elements, settings.maximum_elements);
            EXPECT_TRUE(join.weight >= 0 && join.weight <= settings.maximum_weight);
            const RoundPlan plan = read_begin(text(begin), joins[1], limits, format, 64);
            EXPECT_EQ(plan.shares.back().end, plan.elements);
            const RoundMessage copy = decode_round_message(mutated(random, vote_bytes), 3);
            if (copy.vote) {
                EXPECT_LT(copy.vote->ballot.member, 3u);
            }
            ++read;
        } catch (const Error&) {
            ++refused;
        }
    }
    EXPECT_GT(read, 10u);
    EXPECT_GT(refused, 1000u);
}

TEST(AveragerMessages, a_join_names_bandwidths_within_their_bounds_only) {
    const JoinLimits limits(test_settings());
    Join join = test_join(test_peer(1), 100);
    const auto read = [&](double upload, double download) {
        join.upload = upload;
        join.download = download;
        return check_join(sign_join(join, "test", nullptr), limits);
    };
    for (const double good : {0.0, kMinimumBandwidth, 12345.678, kMaximumBandwidth}) {
        EXPECT_EQ(read(good, 0).upload, good);
        EXPECT_EQ(read(0, good).download, good);
    }
    for (const double bad : {-1.0, 0.999, 1.001e15, std::numeric_limits<double>::quiet_NaN(),
                             std::numeric_limits<double>::infinity()}) {
        EXPECT_THROW(read(bad, 0), Error) << bad;
        EXPECT_THROW(read(0, bad), Error) << bad;
    }
}

TEST(AveragerMessages, a_join_carries_objections_within_their_bounds_only) {
    const JoinLimits limits(test_settings());
    Join join = test_join(test_peer(1), 100);
    const auto read = [&] { return check_join(sign_join(join, "test", nullptr), limits); };
    join.objections.assign(kMaximumObjections, {7, kMinimumBandwidth, kMaximumBandwidth});
    const Join same = read();
    ASSERT_EQ(same.objections.size(), kMaximumObjections);
    EXPECT_EQ(same.objections[3].member, 7u);
    EXPECT_EQ(same.objections[3].upload, kMinimumBandwidth);
    EXPECT_EQ(same.objections[3].download, kMaximumBandwidth);
    join.objections.push_back({7, 100, 100});
    EXPECT_THROW(read(), Error);
    for (const double bad : {-1.0, 0.0, 0.999, 1.001e15, std::numeric_limits<double>::quiet_NaN(),
                             std::numeric_limits<double>::infinity()}) {
        join.objections = {{7, bad, 100}};
        EXPECT_THROW(read(), Error) << bad;
        join.objections = {{7, 100, bad}};
        EXPECT_THROW(read(), Error) << bad;
    }
}

TEST(AveragerMessages, upload_and_download_both_count_in_the_shares) {
    const compress::VectorFormat format("fp32");
    std::vector<Join> joins;
    std::vector<SplitMember> members;
    for (std::uint64_t i = 0; i < 4; ++i) {
        Join join = test_join(test_peer(i), 1000000);
        join.role = Role::full;
        join.upload = i == 1 ? 20 : 100;
        join.download = i == 2 ? 30 : 100;
        join.signed_bytes = sign_join(join, "test", nullptr);
        joins.push_back(join);
    }
    const JoinLimits limits(test_settings());
    const std::string begin = make_begin(joins[0].peer, 1, joins, 4096, nullptr);
    const RoundPlan plan = read_begin(begin, joins[0], limits, format, 64);
    for (const Join& join : plan.members) {
        members.emplace_back();
        members.back().upload = join.upload;
        members.back().download = join.download;
    }
    const std::vector<std::size_t> parts = split_work(1000000, members, 4096);
    for (std::size_t i = 0; i < 4; ++i) {
        EXPECT_EQ(plan.shares[i].size(), parts[i]);
        const bool slow = plan.members[i].upload == 20 || plan.members[i].download == 30;
        EXPECT_EQ(plan.shares[i].size() < 250000, slow);
    }
}

TEST(AveragerMessages, a_changed_or_borrowed_signature_is_refused) {
    AveragerSettings settings = test_settings();
    const auto key = std::make_shared<KeyPair>(KeyPair::from_seed(Bytes(32, 7)));
    settings.signer = key;
    const JoinLimits limits(settings);
    Join join = test_join(key->peer_id(), 100);
    join.signed_bytes = sign_join(join, "test", key.get());
    EXPECT_EQ(check_join(join.signed_bytes, limits).peer, key->peer_id());
    proto::SignedJoin changed;
    changed.ParseFromString(join.signed_bytes);
    proto::JoinOffer offer;
    offer.ParseFromString(changed.offer());
    offer.set_weight(1000);
    changed.set_offer(offer.SerializeAsString());
    EXPECT_THROW(check_join(changed.SerializeAsString(), limits), Error);
    changed.ParseFromString(join.signed_bytes);
    changed.set_peer(std::string(as_text(test_peer(1).bytes())));
    EXPECT_THROW(check_join(changed.SerializeAsString(), limits), Error);
    changed.clear_signature();
    EXPECT_THROW(check_join(changed.SerializeAsString(), limits), Error);
    // A begin counts only as its leader has signed it.
    join.role = Role::full;
    join.signed_bytes = sign_join(join, "test", key.get());
    const compress::VectorFormat format("fp32");
    const std::string begin = make_begin(join.peer, 1, {join}, 4096, key.get());
    EXPECT_EQ(read_begin(begin, join, limits, format, 64).members.size(), 1u);
    proto::Begin forged;
    forged.ParseFromString(begin);
    forged.set_nonce(2);
    EXPECT_THROW(read_begin(forged.SerializeAsString(), join, limits, format, 64), Error);
}

}  // namespace
}  // namespace shoal::collective
