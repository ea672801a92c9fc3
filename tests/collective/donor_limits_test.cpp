// Strangers who ask a donor for its state again and again: what it copies for them, and who gets a place.
#include "shoal/collective/donor_limits.h"

#include "collective/transfer_support.h"

#include <gtest/gtest.h>
#include <list>

namespace shoal::collective {
namespace {

StateRequest a_request(StateRequest::What what, std::uint64_t number) {
    StateRequest request;
    request.what = what;
    request.number = number;
    return request;
}

/// What one stranger saw.
struct Seen {
    bool stays_when_refused = false;
    int refusals = 0, offers = 0, chunks = 0;
    std::string refusal;             ///< the last
    std::optional<TimePoint> ended;  ///< when the session did
};

/// Begins one session, asks for the first chunk every so often (or says only that it stays), and leaves
/// when it is refused, as a rule.
awaitable<void> visit(sim::Peer who, PeerId donor, std::uint64_t minimum, StateRequest::What what,
                      Duration every, std::shared_ptr<Seen> seen) {
    try {
        const net::StreamPointer stream = co_await who.network->open(donor, "test/state");
        Bytes bytes = encode_state_request(a_request(StateRequest::What::begin, minimum));
        co_await stream->write(bytes, ByteView());
        StateAnswer answer;
        while (answer.what == StateAnswer::What::preparing) {
            const auto message = co_await stream->read();
            if (!message) break;
            answer = decode_state_answer(*message, donor, std::size_t{1} << 30);
        }
        if (answer.what == StateAnswer::What::refusal) {
            ++seen->refusals;
            seen->refusal = answer.refusal;
        }
        if (answer.what == StateAnswer::What::offer) ++seen->offers;
        bytes = encode_state_request(a_request(what, 0));
        const bool leaves = answer.what == StateAnswer::What::refusal && !seen->stays_when_refused;
        while (!leaves && every > Duration::zero()) {
            co_await who.clock->sleep_for(every);
            co_await stream->write(bytes, ByteView());
            if (what != StateRequest::What::chunk) continue;
            const auto message = co_await stream->read();
            if (!message) break;
            ++seen->chunks;
        }
    } catch (const Error&) {
    }
    seen->ended = who.clock->now();
}

/// One visit after the other, without end; each wants the newest step.
awaitable<void> hammer(sim::Peer who, PeerId donor, std::shared_ptr<StatePointer> held, Duration stays,
                       std::shared_ptr<Seen> seen) {
    for (;;) {
        const auto newest = static_cast<std::uint64_t>(value((*held)->step));
        awaitable<void> visiting = visit(who, donor, newest, StateRequest::What::stay, stays, seen);
        co_await std::move(visiting);
        co_await who.clock->sleep_for(10ms);
    }
}

class DonorAmongStrangers : public TransferWorld, public ::testing::Test {
  protected:
    DonorAmongStrangers() : TransferWorld(5) {}
    ~DonorAmongStrangers() override {
        tasks_.cancel();
        world_.simulation().run_for(1s);
    }
    std::shared_ptr<Seen> come(std::uint64_t minimum, StateRequest::What what = StateRequest::What::stay,
                               Duration every = 0s) {
        auto seen = std::make_shared<Seen>();
        strangers_.push_back(world_.add_peer());
        tasks_.spawn(visit(strangers_.back(), donor_.peer.id, minimum, what, every, seen));
        return seen;
    }
    void run_for(Duration time) { world_.simulation().run_for(time); }

    Donor donor_ = add_donor(some_state(7, 0, 10'000));
    std::list<sim::Peer> strangers_;
    TaskGroup tasks_{world_.executor()};
};

TEST_F(DonorAmongStrangers, CopiesNothingForAStepThatIsNotThere) {
    const auto next = come(8), later = come(9), never = come(std::uint64_t{1} << 40);
    run_for(1s);
    EXPECT_EQ(never->refusal, "has step 7, not yet " + std::to_string(std::uint64_t{1} << 40));
    EXPECT_EQ(later->refusal, "has step 7, not yet 9");
    EXPECT_EQ(next->refusals, 0) << "it may be taken at any moment";
    run_for(kNextStep);
    EXPECT_EQ(next->refusal, "has step 7, not yet 8");
    EXPECT_EQ(*donor_.copies, 0);
}

TEST_F(DonorAmongStrangers, ServesTheNextStepAsSoonAsItIsTaken) {
    const auto next = come(8);
    run_for(kNextStep - 600ms);
    *donor_.held = some_state(8);
    run_for(1s);
    EXPECT_EQ(next->offers, 1);
    EXPECT_EQ(*donor_.copies, 1);
}

TEST_F(DonorAmongStrangers, CopiesNowAndThenThoughOneKeyAsksForEveryStep) {
    const auto seen = std::make_shared<Seen>();
    strangers_.push_back(world_.add_peer());
    for (int i = 0; i < 2; ++i)
        tasks_.spawn(hammer(strangers_.back(), donor_.peer.id, donor_.held, 0s, seen));
    const Duration time = 60s;
    for (int step = 8; step < 8 + time / 200ms; ++step) {
        run_for(200ms);
        *donor_.held = some_state(step, 0, 100);
    }
    EXPECT_GE(*donor_.copies, time / kCopyEvery) << "but newcomers are served";
    EXPECT_LE(*donor_.copies, time / kCopyEvery + kCopiesAtOnce);
    EXPECT_GT(seen->offers, 20);
    const sim::Peer newcomer = world_.add_peer();
    const std::int64_t step = value((*donor_.held)->step);
    expect_same(download(newcomer, {donor_.peer.id}, step), *donor_.held);
    EXPECT_LE(report_.seconds, seconds(kCopyEvery) + 1);
}

TEST_F(DonorAmongStrangers, AReceiverOnASlowLineKeepsItsStateWhileAStrangerHoldsEveryStep) {
    const StatePointer state = some_state(7, 0, 250'000);
    const Donor donor = add_donor(state);
    sim::HostSettings line;
    line.download_rate = 30e3;
    const sim::Peer slow = world_.add_peer(line);
    StatePointer got;
    auto download_slowly = [&]() -> awaitable<void> {
        const std::vector<PeerId> from(1, donor.peer.id);
        got = co_await downloading(slow, from, 7, report_);
    };
    tasks_.spawn(download_slowly());
    for (int step = 8; step < 20; ++step) {
        run_for(kCopyEvery);
        *donor.held = some_state(step, 0, 100);
        strangers_.push_back(world_.add_peer());
        const auto seen = std::make_shared<Seen>();
        tasks_.spawn(visit(strangers_.back(), donor.peer.id, static_cast<std::uint64_t>(step),
                           StateRequest::What::stay, 5s, seen));
    }
    EXPECT_GE(*donor.copies, 10);
    ASSERT_TRUE(world_.simulation().run_until([&] { return got != nullptr; }, 10s));
    expect_same(got, state);
    EXPECT_NEAR(report_.seconds, 1e6 / 30e3, 3);
}

TEST_F(DonorAmongStrangers, ASessionEndsThoughItAsksForTheSameChunkAgainAndAgain) {
    const double begin = now();
    const auto seen = come(7, StateRequest::What::chunk, 1s);
    const auto idle = come(7, StateRequest::What::stay, 5s);
    const double lifetime = seconds(session_lifetime((10'000 + 777) * sizeof(float)));
    run_for(from_seconds(lifetime - 1));
    EXPECT_FALSE(seen->ended);
    EXPECT_GE(seen->chunks, 60);
    run_for(8s);
    ASSERT_TRUE(seen->ended);
    EXPECT_NEAR(seconds(seen->ended->since_start) - begin, lifetime, 1.5);
    ASSERT_TRUE(idle->ended);
}

TEST_F(DonorAmongStrangers, WhoIsRefusedAndStaysHoldsNoPlaceAndIsSoonGone) {
    const auto seen = std::make_shared<Seen>();
    seen->stays_when_refused = true;
    for (std::size_t i = 0; i < kMaximumSessions; ++i) {
        strangers_.push_back(world_.add_peer());
        tasks_.spawn(visit(strangers_.back(), donor_.peer.id, 100, StateRequest::What::stay, 1s, seen));
    }
    run_for(1s);
    EXPECT_EQ(static_cast<std::size_t>(seen->refusals), kMaximumSessions);
    const sim::Peer newcomer = world_.add_peer();
    expect_same(download(newcomer, {donor_.peer.id}), *donor_.held);
    EXPECT_LT(report_.seconds, 1);
    EXPECT_FALSE(seen->ended);
    run_for(kLongestRefusal + 1s);
    EXPECT_TRUE(seen->ended);
}

TEST_F(DonorAmongStrangers, KeysThatTakeAllPlacesAgainAndAgainKeepNobodyOut) {
    const auto seen = std::make_shared<Seen>();
    for (std::size_t i = 0; i < kMaximumSessions / kSessionsOfOnePeer; ++i) {
        strangers_.push_back(world_.add_peer());
        for (std::size_t k = 0; k < kSessionsOfOnePeer; ++k)
            tasks_.spawn(hammer(strangers_.back(), donor_.peer.id, donor_.held, 5s, seen));
    }
    run_for(5s);
    EXPECT_EQ(static_cast<std::size_t>(seen->offers), kMaximumSessions);
    run_for(kFairIdling);
    for (int i = 0; i < 5; ++i) {
        const sim::Peer newcomer = world_.add_peer();
        expect_same(download(newcomer, {donor_.peer.id}), *donor_.held);
        EXPECT_LT(report_.seconds, 1);
        run_for(40s);
    }
}

TEST(CopyBudget, AllowsSomeCopiesAtOnceAndThenOneAtATime) {
    CopyBudget budget;
    TimePoint now{1h};
    for (int i = 0; i < kCopiesAtOnce; ++i) {
        ASSERT_TRUE(budget.allows(now)) << i;
        budget.begin(now);
    }
    for (int i = 0; i < 3; ++i) {
        EXPECT_FALSE(budget.allows(now + kCopyEvery - 1ns));
        now = now + kCopyEvery;
        ASSERT_TRUE(budget.allows(now));
        budget.begin(now);
    }
}

TEST(CopyBudget, RestsAfterALargeStateWasHashed) {
    CopyBudget budget;
    TimePoint now{1h};
    budget.begin(now);
    now = now + 20s;
    budget.hashed(20s, now);
    EXPECT_FALSE(budget.allows(now + 180s - 1us));
    EXPECT_TRUE(budget.allows(now + 180s));
}

class Places : public ::testing::Test {
  protected:
    static PeerId peer(int number) { return PeerId(sha256(as_bytes(std::to_string(number)))); }
    SessionPlaces::PlacePointer take(int number) {
        std::function<void()> end = [this, number] { ended_.push_back(number); };
        return places_.take(peer(number), now_, std::move(end), why_not_);
    }
    void take_all() {
        for (int i = 0; i < static_cast<int>(kMaximumSessions); ++i) all_.push_back(take(i));
    }
    SessionPlaces places_;
    std::vector<SessionPlaces::PlacePointer> all_;
    std::vector<int> ended_;
    TimePoint now_{1h};
    std::string why_not_;
};

TEST_F(Places, OfOnePeerAreTwo) {
    const auto first = take(1);
    EXPECT_TRUE(first);
    EXPECT_TRUE(take(1));
    EXPECT_FALSE(take(1));
    EXPECT_EQ(why_not_, "busy: serves you already");
    places_.give_back(first, now_);
    EXPECT_TRUE(take(1));
}

TEST_F(Places, AreLostToNewcomersByWhoIdlesLongerThanIsFair) {
    take_all();
    SessionPlaces::earn(*all_[0], 1, now_);
    now_ = now_ + kFairIdling;
    EXPECT_FALSE(take(100));
    EXPECT_EQ(why_not_, "busy: serves 64 downloads already");
    for (std::size_t i = 0; i < all_.size(); ++i) {
        if (i != 9) SessionPlaces::earn(*all_[i], 8, now_);  // worth a millisecond
    }
    now_ = now_ + 1ns;
    EXPECT_TRUE(take(100));
    EXPECT_EQ(ended_, std::vector<int>{9});
    EXPECT_FALSE(take(101)) << "the others have not idled so long";
    places_.give_back(all_[9], now_);  // its session ends at last
    EXPECT_EQ(places_.taken(), kMaximumSessions);
}

TEST_F(Places, AreNotWonBackByWhoHasIdledAsLong) {
    take_all();
    now_ = now_ + kFairIdling + 1s;
    EXPECT_TRUE(take(100));
    ASSERT_EQ(ended_.size(), 1U);
    EXPECT_FALSE(take(ended_[0])) << "it comes back at once";
    now_ = now_ + kFairIdling;  // the longer it is away, the more others have idled
    EXPECT_TRUE(take(ended_[0]));
}

TEST_F(Places, AreKeptByWhoTakesBytesAtTheSlowestRate) {
    take_all();
    for (int i = 0; i < 600; ++i) {
        now_ = now_ + 1s;
        for (std::size_t k = 0; k < all_.size(); ++k)
            SessionPlaces::earn(*all_[k], static_cast<std::size_t>(kSlowestReceiver), now_);
        ASSERT_FALSE(take(1000 + i));
    }
}

TEST_F(Places, AreNotKeptForLongByWhoHasTakenMuch) {
    take_all();
    for (const auto& place : all_) SessionPlaces::earn(*place, std::size_t{1} << 30, now_);
    now_ = now_ + kSpareTime + kFairIdling;
    EXPECT_FALSE(take(100));
    now_ = now_ + 1ns;
    EXPECT_TRUE(take(100));
}

}  // namespace
}  // namespace shoal::collective
