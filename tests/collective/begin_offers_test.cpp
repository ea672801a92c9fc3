// Begins that come with a vote, and streams that wait for a round: what one sender can take up of what others
// need.
#include "averager_harness.h"

#include <gtest/gtest.h>
#include <set>
#include <shoal/proto/collective.pb.h>

#include "shoal/collective/group_matching.h"
#include "shoal/collective/lobby.h"
#include "shoal/collective/round_book.h"
#include "shoal/collective/round_messages.h"
#include "shoal/net/rpc.h"

namespace shoal::collective {
namespace {

using namespace std::chrono_literals;

AveragerSettings test_settings() {
    AveragerSettings settings;
    settings.run = "test";
    settings.codec = "fp32";
    return settings;
}

Join test_join(const PeerId& peer, Role role) {
    Join join;
    join.peer = peer;
    join.step = Step{1};
    join.role = role;
    join.weight = 1;
    join.elements = 1000;
    join.codec = "fp32";
    join.signed_bytes = sign_join(join, "test", nullptr);
    return join;
}

std::string begin_of(const PeerId& leader, const std::vector<Join>& joins, std::uint64_t nonce) {
    return make_begin(leader, nonce, joins, 1000, nullptr);
}

proto::Begin parsed(const std::string& bytes) {
    proto::Begin begin;
    begin.ParseFromString(bytes);
    return begin;
}

class LobbyOffers : public testing::Test {
  protected:
    LobbyOffers() {
        MatchStatus status;
        status.kind = MatchStatus::Kind::joined;
        status.join = own_.signed_bytes;
        lobby_.set_status(status);
    }
    static constexpr std::size_t kGuests = 4;
    sim::Simulation simulation_{1};
    Lobby lobby_{simulation_.executor(), simulation_.clock(), JoinLimits(test_settings()), 1s, kGuests};
    const Join own_ = test_join(test_peer(0), Role::full);
    const Join other_ = test_join(test_peer(1), Role::full);
    const Join third_ = test_join(test_peer(2), Role::full);
};

TEST_F(LobbyOffers, are_kept_one_for_each_sender) {
    for (std::uint64_t i = 0; i < 100; ++i)
        lobby_.offer_begin(other_.peer, parsed(begin_of(other_.peer, {own_, other_}, i)));
    const std::string honest = begin_of(third_.peer, {own_, other_, third_}, 7);
    lobby_.offer_begin(third_.peer, parsed(honest));
    for (std::uint64_t i = 0; i < 100; ++i)
        lobby_.offer_begin(other_.peer, parsed(begin_of(other_.peer, {own_, other_}, i)));
    const std::vector<Lobby::OfferedBegin> offered = lobby_.take_offered_begins();
    ASSERT_EQ(offered.size(), 2U);
    const auto& kept = offered[0].from == third_.peer ? offered[0] : offered[1];
    EXPECT_EQ(kept.begin, honest);
    EXPECT_TRUE(lobby_.take_offered_begins().empty());
}

TEST_F(LobbyOffers, are_kept_for_no_more_senders_than_guests) {
    for (std::uint64_t i = 1; i <= kGuests + 3; ++i) {
        const Join join = test_join(test_peer(i), Role::full);
        lobby_.offer_begin(join.peer, parsed(begin_of(join.peer, {own_, join}, i)));
    }
    EXPECT_EQ(lobby_.take_offered_begins().size(), kGuests);
}

TEST_F(LobbyOffers, count_only_from_members_that_know_our_join) {
    lobby_.offer_begin(third_.peer, parsed(begin_of(other_.peer, {own_, other_}, 1)));
    Join old = own_;
    old.nonce = 99;
    old.signed_bytes = sign_join(old, "test", nullptr);
    lobby_.offer_begin(other_.peer, parsed(begin_of(other_.peer, {old, other_}, 1)));
    EXPECT_TRUE(lobby_.take_offered_begins().empty());
}

TEST_F(LobbyOffers, are_forgotten_when_nobody_looks_for_a_group) {
    const proto::Begin begin = parsed(begin_of(other_.peer, {own_, other_}, 1));
    lobby_.offer_begin(other_.peer, begin);
    lobby_.set_status(MatchStatus());
    lobby_.offer_begin(other_.peer, begin);
    EXPECT_TRUE(lobby_.take_offered_begins().empty());
}

/// One averager that has joined a leader, which is ours, and a client, which is ours, too.
class OfferedBegins : public testing::Test {
  protected:
    OfferedBegins() {
        while (leader_rank(leader_, Step{1}, 0).bytes > leader_rank(self_, Step{1}, 0).bytes)
            leader_ = test_peer(++numbers_);
        leader_network_ = internet_.join(leader_);
        client_network_ = internet_.join(client_);
        network_ = internet_.join(self_);
        AveragerSettings settings = test_settings();
        settings.probe = [this](Phase phase, Step) { phases_.insert(phase); };
        averager_ = make_averager(*network_, internet_.clock(self_), Random(1), settings, Log());
        leader_network_->serve("test/match",
                               [this](net::StreamPointer stream) { return hold(std::move(stream)); });
        RoundRequest request;
        request.step = Step{1};
        request.contribution = contribution_;
        request.result = result_;
        request.weight = 1;
        request.expected = [this] {
            ExpectedPeer leader, client;
            leader.peer = leader_;
            leader.ready_by = client.ready_by = TimePoint() + 1h;
            client.peer = client_;
            client.role = Role::client;
            return std::vector<ExpectedPeer>{leader, client};
        };
        asio::co_spawn(simulation_.executor(), averager_->average(std::move(request)),
                       asio::bind_cancellation_slot(cancel_.slot(), [](std::exception_ptr, Verdict) {}));
        EXPECT_TRUE(simulation_.run_until([this] { return own_.has_value(); }, 10s));
    }
    ~OfferedBegins() override {
        cancel_.emit(asio::cancellation_type::terminal);
        simulation_.run_for(10s);
    }

    /// Says that it is about to begin, and never does.
    awaitable<void> hold(net::StreamPointer stream) {
        const std::optional<net::Message> message = co_await stream->read();
        const auto request = net::parse_control<proto::MatchRequest>(*message, stream->peer());
        own_ = check_join(request.join().SerializeAsString(), JoinLimits(test_settings()));
        proto::MatchReply reply;
        reply.mutable_hold()->set_ready(true);
        reply.mutable_hold()->set_wait_milliseconds(1'000'000);
        const Bytes bytes = net::to_control(reply);
        co_await stream->write(bytes, ByteView());
        co_await stream->read();
    }
    awaitable<void> pass_on(std::shared_ptr<net::Network> from, std::string begin) {
        RoundMessage hello;
        const Digest digest = sha256(as_bytes(std::string_view(begin)));
        RoundId id{};
        std::copy_n(digest.bytes.begin(), id.size(), id.begin());
        hello.round = id;
        hello.begin = begin;
        const net::StreamPointer stream = co_await from->open(self_, "test/vote");
        const Bytes bytes = encode_round_message(hello);
        co_await stream->write(bytes, ByteView());
        try {
            co_await stream->read();
        } catch (const Error&) {
        }
    }
    void offer(const std::shared_ptr<net::Network>& from, const std::string& begin) {
        simulation_.spawn(pass_on(from, begin));
        simulation_.run_for(100ms);
    }
    bool round_runs() const { return phases_.contains(Phase::send); }
    /// Of a round whose members do not fit each other.
    std::string impossible_begin() {
        Join misfit = test_join(leader_, Role::full);
        misfit.codec = "fp16";
        misfit.signed_bytes = sign_join(misfit, "test", nullptr);
        return begin_of(leader_, {*own_, misfit, test_join(client_, Role::client)}, 1);
    }
    std::string true_begin() {
        return begin_of(leader_, {*own_, test_join(leader_, Role::full), test_join(client_, Role::client)},
                        2);
    }

    sim::Simulation simulation_{1};
    sim::SimulatedInternet internet_{simulation_, {}};
    std::uint64_t numbers_ = 2;
    const PeerId self_ = test_peer(0), client_ = test_peer(1);
    PeerId leader_ = test_peer(2);
    std::shared_ptr<net::Network> leader_network_, client_network_, network_;
    std::shared_ptr<Averager> averager_;
    std::vector<float> contribution_ = std::vector<float>(1000, 1.0F), result_ = std::vector<float>(1000);
    std::set<Phase> phases_;
    std::optional<Join> own_;
    asio::cancellation_signal cancel_;
};

TEST_F(OfferedBegins, begin_the_round_whoever_of_its_members_passes_them_on) {
    offer(client_network_, true_begin());
    EXPECT_TRUE(round_runs());
}

TEST_F(OfferedBegins, are_checked_no_more_from_one_who_passed_on_an_impossible_one) {
    offer(leader_network_, impossible_begin());
    offer(leader_network_, true_begin());
    EXPECT_FALSE(round_runs());
    offer(client_network_, true_begin());
    EXPECT_TRUE(round_runs()) << "nobody else is harmed";
}

TEST_F(OfferedBegins, of_another_attempt_are_no_fault) {
    Join old = *own_;
    old.nonce += 1;
    old.signed_bytes = sign_join(old, "test", nullptr);
    offer(client_network_,
          begin_of(leader_, {old, test_join(leader_, Role::full), test_join(client_, Role::client)}, 1));
    offer(client_network_, true_begin());
    EXPECT_TRUE(round_runs());
}

TEST_F(OfferedBegins, name_a_leader_that_we_have_joined) {
    const Join unasked = test_join(client_, Role::full);
    offer(client_network_, begin_of(client_, {*own_, unasked}, 1));
    EXPECT_FALSE(round_runs());
}

// --- streams that wait ---

awaitable<void> wait_for_a_round(std::shared_ptr<net::Network> from, PeerId to, std::string service,
                                 bool names_one, std::shared_ptr<std::string> refusal) {
    try {
        const net::StreamPointer stream = co_await from->open(to, std::move(service));
        if (names_one) {
            proto::ReduceHello hello;
            hello.set_round(std::string(16, 'r'));
            const Bytes bytes = net::to_control(hello);
            co_await stream->write(bytes, ByteView());
        }
        co_await stream->read();
    } catch (const Error& error) {
        *refusal = error.what();
    }
}

TEST(WaitingStreams, of_one_sender_are_bounded_and_leave_room_for_others) {
    for (const bool names_one : {false, true}) {
        for (const std::string service : {"test/reduce", "test/vote"}) {
            SCOPED_TRACE(service + (names_one ? " with" : " without") + " a round");
            AveragerSwarm swarm(1);
            swarm.add();
            const auto hostile = swarm.internet().join(test_peer(900));
            const auto honest = swarm.internet().join(test_peer(901));
            std::vector<std::shared_ptr<std::string>> refusals;
            const auto send = [&](const std::shared_ptr<net::Network>& from) {
                refusals.push_back(std::make_shared<std::string>());
                swarm.simulation().spawn(
                    wait_for_a_round(from, swarm[0].id, service, names_one, refusals.back()));
                swarm.simulation().run_for(1ms);
            };
            for (std::size_t i = 0; i < kMaximumWaitingStreamsOfOne; ++i) send(hostile);
            send(honest);
            swarm.simulation().run_for(100ms);
            for (const auto& refusal : refusals) EXPECT_EQ(*refusal, "");
            send(hostile);
            swarm.simulation().run_for(100ms);
            EXPECT_NE(refusals.back()->find("too many streams wait"), std::string::npos) << *refusals.back();
            swarm.simulation().run_for(60s);  // those have had their time
            send(hostile);
            swarm.simulation().run_for(100ms);
            EXPECT_EQ(*refusals.back(), "");
        }
    }
}

}  // namespace
}  // namespace shoal::collective
