// A leader that names members who have not signed: nothing that it gathers so counts.
#include "averager_harness.h"

#include <gtest/gtest.h>
#include <shoal/proto/collective.pb.h>

#include "shoal/base/error.h"
#include "shoal/collective/lobby.h"
#include "shoal/collective/round_messages.h"
#include "shoal/net/rpc.h"

namespace shoal::collective {
namespace {

using namespace std::chrono_literals;

std::shared_ptr<KeyPair> test_key(std::uint8_t number) {
    return std::make_shared<KeyPair>(KeyPair::from_seed(Bytes(32, number)));
}

AveragerSettings test_settings(std::shared_ptr<const Signer> signer) {
    AveragerSettings settings;
    settings.run = "test";
    settings.codec = "fp32";
    settings.signer = std::move(signer);
    return settings;
}

/// An offer without samples.
Join test_join(const Signer& key, Role role) {
    Join join;
    join.peer = PeerId::of(key.public_key());
    join.step = Step{1};
    join.role = role;
    join.elements = role == Role::auxiliary ? 0 : 1000;
    join.codec = "fp32";
    join.upload = join.download = role == Role::client ? 0 : 1;  // so slow that it owns nothing
    join.signed_bytes = sign_join(join, "test", &key);
    return join;
}

Join forged(const Join& join) {
    proto::SignedJoin changed;
    changed.ParseFromString(join.signed_bytes);
    (*changed.mutable_signature())[0] ^= 1;
    Join forged = join;
    forged.signed_bytes = changed.SerializeAsString();
    return forged;
}

/// One averager, which is the only one with samples and owns the whole vector, and a leader that is ours. The
/// third member never says a word.
class NamedMembers : public testing::Test {
  protected:
    NamedMembers() {
        std::uint8_t number = 2;
        while (leader_rank(leader(), Step{1}, 0).bytes > leader_rank(self(), Step{1}, 0).bytes)
            leader_key_ = test_key(++number);
        leader_network_ = internet_.join(leader());
        network_ = internet_.join(self());
        leader_network_->serve("test/match", [this](net::StreamPointer s) { return answer(std::move(s)); });
        leader_network_->serve("test/vote", [this](net::StreamPointer s) { return listen(std::move(s)); });
    }
    ~NamedMembers() override {
        cancel_.emit(asio::cancellation_type::terminal);
        simulation_.run_for(10s);
    }

    PeerId self() const { return key_->peer_id(); }
    PeerId leader() const { return leader_key_->peer_id(); }

    void average_with(const Join& third) {
        third_ = third;
        AveragerSettings settings = test_settings(key_);
        settings.upload = settings.download = 1e6;
        averager_ = make_averager(*network_, internet_.clock(self()), Random(1), settings, Log());
        RoundRequest request;
        request.step = Step{1};
        request.contribution = contribution_;
        request.result = result_;
        request.weight = 1;
        request.expected = [this] {
            ExpectedPeer expected;
            expected.peer = leader();
            expected.ready_by = TimePoint() + 1h;
            return std::vector<ExpectedPeer>{expected};
        };
        asio::co_spawn(simulation_.executor(), averager_->average(std::move(request)),
                       asio::bind_cancellation_slot(cancel_.slot(), [](std::exception_ptr, Verdict) {}));
        EXPECT_TRUE(simulation_.run_until([this] { return says_something(); }, 10s));
    }

    bool says_something() const { return seen_.complete || !seen_.blames.empty(); }

    awaitable<void> answer(net::StreamPointer stream) {
        const std::optional<net::Message> message = co_await stream->read();
        const auto request = net::parse_control<proto::MatchRequest>(*message, stream->peer());
        const JoinLimits limits(test_settings(key_));
        const Join guest = check_join(request.join().SerializeAsString(), limits);
        const std::string begin = make_begin(
            leader(), 1, {guest, test_join(*leader_key_, Role::auxiliary), third_}, 1000, leader_key_.get());
        members_ = 3;
        proto::MatchReply reply;
        reply.mutable_begin()->ParseFromString(begin);
        const Bytes bytes = net::to_control(reply);
        co_await stream->write(bytes, ByteView());
        co_await stream->read();
    }
    awaitable<void> listen(net::StreamPointer stream) {
        for (;;) {
            const std::optional<net::Message> message = co_await stream->read();
            if (!message) co_return;
            const RoundMessage said = decode_round_message(message->control, members_);
            if (said.observation) seen_ = *said.observation;
        }
    }

    sim::Simulation simulation_{1};
    sim::SimulatedInternet internet_{simulation_, {}};
    const std::shared_ptr<KeyPair> key_ = test_key(1), third_key_ = test_key(200);
    std::shared_ptr<KeyPair> leader_key_ = test_key(2);
    std::shared_ptr<net::Network> leader_network_, network_;
    std::shared_ptr<Averager> averager_;
    std::vector<float> contribution_ = std::vector<float>(1000, 1.0F), result_ = std::vector<float>(1000);
    Join third_;
    std::size_t members_ = 0;
    Observation seen_;
    asio::cancellation_signal cancel_;
};

TEST_F(NamedMembers, that_have_signed_need_not_speak) {
    average_with(test_join(*third_key_, Role::client));
    EXPECT_TRUE(seen_.complete) << (seen_.blames.empty() ? "" : seen_.blames[0].cause);
    EXPECT_TRUE(seen_.blames.empty());
}

TEST_F(NamedMembers, that_have_not_signed_are_the_leaders_fault) {
    average_with(forged(test_join(*third_key_, Role::client)));
    EXPECT_FALSE(seen_.complete);
    ASSERT_EQ(seen_.blames.size(), 1U);
    EXPECT_NE(seen_.blames[0].cause.find("named"), std::string::npos);
    simulation_.run_for(1s);
    EXPECT_FALSE(seen_.complete) << "it stays so";
}

TEST(ReadBegin, checks_signatures_now_or_says_whose_are_to_be_checked) {
    const auto leader = test_key(1), other = test_key(2), liar = test_key(3);
    const Join own = test_join(*other, Role::client);
    Join weighty = test_join(*leader, Role::full);
    weighty.weight = 1;
    weighty.signed_bytes = sign_join(weighty, "test", leader.get());
    const Join bad = forged(test_join(*liar, Role::client));
    const JoinLimits limits(test_settings(other));
    const compress::VectorFormat format("fp32");
    const std::string begin = make_begin(weighty.peer, 1, {weighty, own, bad}, 1000, leader.get());
    EXPECT_THROW(read_begin(begin, own, limits, format, 64, Signatures::all), Error);
    const RoundPlan plan = read_begin(begin, own, limits, format, 64, Signatures::later);
    for (std::size_t i = 0; i < plan.members.size(); ++i) {
        EXPECT_EQ(plan.proven[i], plan.members[i].peer != bad.peer);
        if (plan.members[i].peer == bad.peer)
            EXPECT_THROW(prove_join(plan.members[i], limits), Error);
        else
            EXPECT_NO_THROW(prove_join(plan.members[i], limits));
    }
}

}  // namespace
}  // namespace shoal::collective
