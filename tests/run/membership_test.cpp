// Who refuses a peer for its settings is counted against who accepts it; one alone ends nobody.
#include "shoal/run/membership.h"

#include <gtest/gtest.h>
#include <map>
#include <set>

#include "shoal/sim/simulation.h"

namespace shoal::run {
namespace {

using namespace std::chrono_literals;

const std::string kDiffers = "the run's schedule.learning_rate differs: ours 0.002, theirs 0.001";

PeerId id(char number) {
    return PeerId::from_bytes(Bytes(32, static_cast<std::uint8_t>(number)));
}

/// A network where some are connected and the others refuse.
class StubNetwork final : public net::Network {
  public:
    explicit StubNetwork(asio::any_io_executor executor) : executor_(std::move(executor)) {}
    const PeerId& self() const override { return self_; }
    asio::any_io_executor executor() const override { return executor_; }
    awaitable<net::StreamPointer> open(PeerId peer, std::string) override {
        const auto refusal = refusals.find(peer);
        if (refusal != refusals.end())
            throw Error(ErrorKind::unreachable, "cannot be reached: 10.0.0.1:7: " + refusal->second,
                        peer.short_name());
        co_return nullptr;
    }
    void serve(std::string, net::StreamHandler, net::Audience) override {}
    awaitable<PeerId> dial(net::Endpoint) override { co_return self_; }
    std::vector<net::ConnectionInfo> connections() const override { return {}; }
    bool is_connected(const PeerId& peer) const override { return connected.contains(peer); }
    std::shared_ptr<void> observe(Observer observer) override {
        observer_ = std::move(observer);
        return std::make_shared<int>(0);
    }
    void disconnect(const PeerId&, const std::string&) override {}
    void mark_useful(const PeerId&) override {}
    void set_resolver(net::AddressResolver) override {}

    void connect(const PeerId& peer) {
        connected.insert(peer);
        observer_(peer, true, "");
    }
    std::map<PeerId, std::string> refusals;
    std::set<PeerId> connected;

  private:
    asio::any_io_executor executor_;
    PeerId self_ = id('0');
    Observer observer_;
};

class StubTracker final : public collective::ProgressTracker {
  public:
    explicit StubTracker(const asio::any_io_executor& executor) : changed_(executor) { add(id('0')); }
    awaitable<void> start() override { co_return; }
    awaitable<void> stop() override { co_return; }
    void report(collective::Progress) override {}
    collective::SwarmView view() const override { return {}; }
    std::vector<collective::Progress> peers() const override { return all; }
    std::vector<collective::ExpectedPeer> expected(Step) const override { return {}; }
    bool has_left(const PeerId&, Step) const override { return false; }
    void forget(const PeerId&) override {}
    void doubt(const PeerId&, Duration) override {}
    bool doubts(const PeerId&) const override { return false; }
    void set_companions(std::vector<PeerId>) override {}
    double plausible_weight(const PeerId&, Step) const override { return 0; }
    void keep_score(Step, std::span<const PeerId>) override {}
    double trust(const PeerId&) const override { return 1; }
    collective::Vouchers vouchers(const collective::StateClaim&) const override { return {}; }
    std::optional<collective::StateClaim> named_by_most(Step) const override { return {}; }
    bool batch_is_full() const override { return false; }
    Signal& changed() override { return changed_; }

    void add(const PeerId& peer) {
        collective::Progress progress;
        progress.peer = peer;
        all.push_back(progress);
        changed_.notify();
    }
    std::vector<collective::Progress> all;

  private:
    Signal changed_;
};

class MembershipTest : public testing::Test {
  protected:
    MembershipTest() { membership_.watch(tracker_); }

    awaitable<void> try_to_open(PeerId peer) {
        try {
            co_await membership_.network().open(peer, "anything");
        } catch (const Error&) {
        }
    }
    void refuse(char number, const std::string& words = kDiffers) {
        tracker_.add(id(number));
        network_.refusals[id(number)] = words;
        simulation_.run(try_to_open(id(number)), 1s);
    }
    void accept(char number) {
        tracker_.add(id(number));
        network_.connect(id(number));
    }
    /// The error with which it ends within this time, or nothing.
    std::string ending_within(Duration time) {
        std::string text;
        const auto watching = [](Membership& membership, std::string& said) -> awaitable<void> {
            try {
                co_await membership.until_refused();
            } catch (const Error& error) {
                if (error.kind() == ErrorKind::bad_input) said = error.what();
                if (error.kind() == ErrorKind::cancelled) throw;
            }
        };
        TaskGroup task(simulation_.executor());
        task.spawn(watching(membership_, text));
        simulation_.run_for(time);
        task.cancel();
        simulation_.run_for(1ms);
        return text;
    }
    bool is_admitted_within(Duration time) {
        bool admitted = false;
        const auto waiting = [](Membership& membership, bool& done) -> awaitable<void> {
            co_await membership.until_admitted();
            done = true;
        };
        TaskGroup task(simulation_.executor());
        task.spawn(waiting(membership_, admitted));
        simulation_.run_for(time);
        task.cancel();
        simulation_.run_for(1ms);
        return admitted;
    }

    sim::Simulation simulation_{1};
    StubNetwork network_{simulation_.executor()};
    StubTracker tracker_{simulation_.executor()};
    Membership membership_{network_, simulation_.clock(), "demo", Log()};
};

TEST_F(MembershipTest, NobodyToBeSeenIsNoReasonToWait) {
    EXPECT_TRUE(is_admitted_within(0s));
    EXPECT_EQ(ending_within(60s), "");
}

TEST_F(MembershipTest, APeerThatOnlyRefusalsMeetEndsAfterSecondsAndNamesTheSetting) {
    refuse('1');
    EXPECT_FALSE(is_admitted_within(60s)) << "it never trains alone";
    EXPECT_EQ(ending_within(2900ms), "") << "not at once: others may accept it";
    const std::string said = ending_within(3100ms);
    EXPECT_EQ(said.rfind(kDiffers + " (run 'demo': 1 peer refuses this one", 0), 0U) << said;
}

TEST_F(MembershipTest, OneThatRefusesAmongAsManyThatAcceptEndsNobody) {
    refuse('1');
    accept('2');
    EXPECT_TRUE(is_admitted_within(0s));
    EXPECT_EQ(ending_within(600s), "");
}

TEST_F(MembershipTest, MoreThatRefuseThanAcceptEndIt) {
    accept('1');
    refuse('2');
    refuse('3');
    EXPECT_FALSE(is_admitted_within(60s));
    EXPECT_NE(ending_within(3100ms).find("2 peers refuse this one for its settings, 1 accepts it"),
              std::string::npos);
}

TEST_F(MembershipTest, WhoRefusesAndThenConnectsCountsAsOneThatAccepts) {
    refuse('1');
    network_.connect(id('1'));
    EXPECT_EQ(membership_.refusing(), 0U);
    EXPECT_EQ(membership_.accepting(), 1U);
    EXPECT_EQ(ending_within(60s), "");
}

TEST_F(MembershipTest, WhoIsGoneRefusesNoLonger) {
    refuse('1');
    std::erase_if(tracker_.all, [](const auto& peer) { return peer.peer == id('1'); });
    tracker_.changed().notify();
    EXPECT_EQ(membership_.refusing(), 0U);
    EXPECT_TRUE(is_admitted_within(0s));
}

TEST_F(MembershipTest, OtherTroubleIsNoRefusal) {
    refuse('1', "connection refused: nothing listens there");
    EXPECT_EQ(membership_.refusing(), 0U);
    EXPECT_EQ(ending_within(60s), "");
    EXPECT_FALSE(is_admitted_within(4900ms)) << "the other may still be reached";
    EXPECT_TRUE(is_admitted_within(200ms));
}

TEST_F(MembershipTest, WhoHasTrainedForAWhileIsEndedByNobody) {
    membership_.took_step();
    refuse('1');
    EXPECT_EQ(ending_within(9s), "") << "one newcomer against one that trains";
    refuse('2');
    simulation_.run_for(1s);
    EXPECT_EQ(ending_within(600s), "") << "established";
    EXPECT_TRUE(is_admitted_within(0s));
}

TEST(DifferingSetting, IsFoundInTheErrorsOfAHandshakeOnly) {
    EXPECT_EQ(differing_setting("peer ab: cannot be reached: 1.2.3.4:5: " + kDiffers), kDiffers);
    EXPECT_EQ(differing_setting("1.2.3.4:5: " + kDiffers + "; [::1]:5: " + kDiffers), kDiffers);
    EXPECT_FALSE(differing_setting("connection refused: nothing listens there"));
    EXPECT_FALSE(differing_setting("the run's end"));
    EXPECT_FALSE(differing_setting(""));
}

}  // namespace
}  // namespace shoal::run
