// How records of others are judged, without network or coroutines.
#include <gtest/gtest.h>
#include <limits>

#include "shoal/collective/companions.h"
#include "shoal/collective/progress_book.h"
#include "shoal/collective/swarm_rules.h"

namespace shoal::collective {
namespace {

using namespace std::chrono_literals;

PeerId peer(int n) {
    Digest digest;
    digest.bytes[0] = static_cast<std::uint8_t>(n);
    return PeerId(digest);
}

Progress trainer(int n, std::int64_t step, std::int64_t samples = 0) {
    Progress progress;
    progress.peer = peer(n);
    progress.step = static_cast<Step>(step);
    progress.samples = static_cast<Samples>(samples);
    progress.samples_per_second = 100;
    progress.micro_batch_seconds = 1;
    progress.training = true;
    progress.digest = {static_cast<std::uint64_t>(step), 0};
    return progress;
}

Progress newcomer(int n, std::int64_t step) {
    Progress progress = trainer(n, step);
    progress.training = false;
    return progress;
}

SwarmView judge(std::vector<Progress> live, const Progress& own, std::vector<PeerId> companions = {}) {
    live.push_back(own);
    std::sort(live.begin(), live.end(), [](const auto& a, const auto& b) { return a.peer < b.peer; });
    return judge_swarm(live, own, static_cast<Samples>(1000), companions,
                       [](const PeerId&) { return false; });
}

std::int64_t step_seen(std::vector<Progress> live, const Progress& own, std::vector<PeerId> companions = {}) {
    return value(judge(std::move(live), own, std::move(companions)).step);
}

TEST(SwarmStep, OfALonePeerIsItsOwn) {
    EXPECT_EQ(step_seen({}, trainer(1, 5)), 5);
}

TEST(SwarmStep, OfATrainerFollowsNoSinglePeerHoweverLittleItClaims) {
    EXPECT_EQ(step_seen({trainer(2, 6)}, trainer(1, 5)), 5);
    EXPECT_EQ(step_seen({trainer(2, 6)}, trainer(1, 5), {peer(1), peer(2)}), 5);
    EXPECT_EQ(step_seen({trainer(2, 6), trainer(3, 6)}, trainer(1, 5)), 6);
}

TEST(SwarmStep, OfATrainerIsWhatAQuorumOfItsLastRoundHasReached) {
    const std::vector<PeerId> round{peer(1), peer(2), peer(3), peer(4)};
    // Many newcomers hold the old state; they took part in nothing.
    const std::vector<Progress> newer{trainer(5, 5), trainer(6, 5), trainer(7, 5)};
    const auto seen = [&](std::vector<Progress> live, int self) {
        live.insert(live.end(), newer.begin(), newer.end());
        return step_seen(std::move(live), trainer(self, 5), round);
    };
    EXPECT_EQ(seen({trainer(1, 6), trainer(2, 7), trainer(3, 5)}, 4), 6);  // half, with the lowest
    EXPECT_EQ(seen({trainer(2, 6), trainer(3, 6), trainer(4, 5)}, 1), 5);  // half, without it
    EXPECT_EQ(seen({trainer(2, 6), trainer(3, 6), trainer(4, 7)}, 1), 6);
}

TEST(Rival, IsWhatContradictsATrainerWithoutCompany) {
    const auto rival = [](std::vector<Progress> live, const Progress& own, std::vector<PeerId> round = {}) {
        const SwarmView view = judge(std::move(live), own, std::move(round));
        return view.rival ? value(view.rival->step) : -1;
    };
    EXPECT_EQ(rival({trainer(2, 6)}, trainer(1, 5)), 6);
    EXPECT_EQ(rival({trainer(2, 4)}, trainer(1, 5)), -1);
    EXPECT_EQ(rival({trainer(2, 6)}, newcomer(1, 5)), -1);
    EXPECT_EQ(rival({trainer(2, 6), trainer(3, 5)}, trainer(1, 5)), -1);  // 3 is company
    EXPECT_EQ(rival({trainer(2, 6), trainer(3, 4)}, trainer(1, 5)), -1);  // and so is who comes after us
    // But of a round of two, the lowest may have gone on alone.
    EXPECT_EQ(rival({trainer(1, 6), trainer(3, 5)}, trainer(2, 5), {peer(1), peer(2)}), 6);
    EXPECT_EQ(rival({trainer(2, 6), trainer(3, 5)}, trainer(1, 5), {peer(1), peer(2)}), -1);
    Progress other = trainer(2, 5);
    other.digest = {99, 0};
    EXPECT_EQ(rival({other}, trainer(1, 5)), -1);  // it is the other that has to look
    EXPECT_EQ(rival({other}, trainer(3, 5)), 5);
}

TEST(SwarmStep, IsNotMovedByALoneLiar) {
    constexpr std::int64_t kLie = 1'000'000'000;
    EXPECT_EQ(step_seen({trainer(9, kLie)}, trainer(1, 5)), 5);
    EXPECT_EQ(step_seen({trainer(2, 5), trainer(9, kLie)}, trainer(1, 5)), 5);
    EXPECT_EQ(step_seen({trainer(2, 5), trainer(3, 6), trainer(4, 5), trainer(9, kLie)}, trainer(1, 5)), 5);
    EXPECT_EQ(step_seen({trainer(2, 5), trainer(3, 6), trainer(4, 6), trainer(9, kLie)}, trainer(1, 5)), 6);
    // Nor a newcomer when the crowd disagrees.
    EXPECT_EQ(step_seen({trainer(2, 500), trainer(3, 500), trainer(9, kLie)}, newcomer(1, 0)), 500);
    EXPECT_EQ(
        step_seen({trainer(2, 500), trainer(3, 500), trainer(4, 501), trainer(9, kLie)}, newcomer(1, 0)),
        501);
    EXPECT_EQ(step_seen({trainer(2, 500), trainer(9, kLie)}, newcomer(1, 0)), 500);
}

TEST(SwarmStep, OfANewcomerIsThatOfTheCrowd) {
    EXPECT_EQ(step_seen({trainer(2, 500)}, newcomer(1, 0)), 500);
    EXPECT_EQ(step_seen({trainer(2, 500), trainer(3, 501), trainer(4, 501)}, newcomer(1, 0)), 501);
    // Those that download say little about the swarm.
    EXPECT_EQ(step_seen({trainer(2, 500), newcomer(3, 0), newcomer(4, 0), newcomer(5, 0)}, newcomer(1, 0)),
              500);
}

TEST(SwarmStep, WhenAWholeRunResumesIsWhatMostHold) {
    EXPECT_EQ(step_seen({newcomer(2, 100), newcomer(3, 100)}, newcomer(1, 90)), 100);
    EXPECT_EQ(step_seen({newcomer(2, 90), newcomer(3, 100)}, newcomer(1, 90)), 90);
}

TEST(SwarmStep, OfTwoEqualHalvesIsTheHigherOneButOnlyWhereAHalfIsMoreThanOnePeer) {
    EXPECT_EQ(step_seen({trainer(2, 7), trainer(3, 50), trainer(4, 50)}, trainer(1, 7)), 50);
    EXPECT_EQ(step_seen({trainer(2, 50)}, trainer(1, 7)), 7);
}

TEST(SwarmStep, IsNotMovedByPeersInDoubtUnlessTheCrowdAgrees) {
    const Progress own = trainer(1, 5);
    const auto doubt_two = [](const PeerId& p) { return p == peer(2); };
    std::vector<Progress> live{own, trainer(2, 6), trainer(3, 6)};
    EXPECT_EQ(value(judge_swarm(live, own, Samples{100}, {}, doubt_two).step), 5);
    live.push_back(trainer(4, 6));
    EXPECT_EQ(value(judge_swarm(live, own, Samples{100}, {}, doubt_two).step), 6);
}

TEST(SwarmStep, IgnoresAuxiliaryPeers) {
    Progress helper = trainer(2, 7);
    helper.role = Role::auxiliary;
    EXPECT_EQ(step_seen({helper}, trainer(1, 5)), 5);
}

TEST(SwarmView, AddsUpTheSamplesOfThoseAtItsStep) {
    Progress downloading = trainer(4, 5, 999);
    downloading.training = false;
    const SwarmView view = judge({trainer(2, 5, 200), trainer(3, 4, 400), downloading}, trainer(1, 5, 100));
    EXPECT_EQ(value(view.samples), 300);
    EXPECT_EQ(view.peers, 4U);
    EXPECT_EQ(view.training_peers, 3U);
    EXPECT_DOUBLE_EQ(view.samples_per_second, 300);
    EXPECT_NEAR(seconds(view.eta), 700.0 / 300.0, 1e-6);
}

TEST(SwarmView, NamesTheStateOfMostAndOfTheLowestPeerOnATie) {
    Progress two = trainer(2, 6), three = trainer(3, 6), four = trainer(4, 6);
    two.digest = three.digest = {42, 0};
    four.digest = {41, 0};
    EXPECT_EQ(judge({two, three, four}, newcomer(1, 0)).digest, two.digest);
    EXPECT_EQ(judge({three, four}, newcomer(1, 0)).digest, three.digest);
}

TEST(SwarmView, OfATrainerNamesAnotherStateOnlyIfSeveralThatAreMostHoldIt) {
    const auto with_digest = [](int n, std::uint64_t digest) {
        Progress progress = trainer(n, 5);
        progress.digest = {digest, 0};
        return progress;
    };
    const auto named = [](std::vector<Progress> live, const Progress& own, std::vector<PeerId> round = {}) {
        return judge(std::move(live), own, std::move(round)).digest.low;
    };
    const Progress own = with_digest(4, 41);
    EXPECT_EQ(named({with_digest(2, 42)}, own), 41U);
    EXPECT_EQ(named({with_digest(2, 42), with_digest(3, 42)}, own), 42U);
    EXPECT_EQ(named({with_digest(1, 42), with_digest(2, 42), with_digest(5, 41)}, own), 42U);  // half, lowest
    EXPECT_EQ(named({with_digest(5, 42), with_digest(6, 42), with_digest(7, 41)}, own), 41U);
    // Two of six, the others being a step behind.
    const std::vector<Progress> two{trainer(1, 4), with_digest(2, 42), with_digest(3, 42), trainer(5, 4),
                                    trainer(6, 4)};
    EXPECT_EQ(named(two, own), 41U);
    EXPECT_EQ(named(two, own, {peer(2), peer(3), peer(4)}), 42U);
}

TEST(BatchIsFull, AtTheTargetAndNotOneSampleBefore) {
    const auto full = [](std::int64_t samples) {
        const std::vector<Progress> live{trainer(1, 5, samples), trainer(2, 5, 500)};
        const SwarmView view =
            judge_swarm(live, live[0], Samples{1000}, {}, [](const PeerId&) { return false; });
        return judge_batch_full(view, live, peer(1), Samples{1000});
    };
    EXPECT_FALSE(full(499));
    EXPECT_TRUE(full(500));
}

TEST(BatchIsFull, WhenMoreThanHalfOfTheOthersWait) {
    std::vector<Progress> live{trainer(1, 5), trainer(2, 5), trainer(3, 5)};
    const auto full = [&] {
        const SwarmView view =
            judge_swarm(live, live[0], Samples{1000}, {}, [](const PeerId&) { return false; });
        return judge_batch_full(view, live, peer(1), Samples{1000});
    };
    EXPECT_FALSE(full());
    live[1].waiting = true;
    EXPECT_FALSE(full());
    live[2].waiting = true;
    EXPECT_TRUE(full());
}

TEST(PlausibleSamples, AreLimitedByTheTargetAndByTheClaimedSpeed) {
    constexpr double kUnknown = std::numeric_limits<double>::infinity();
    EXPECT_EQ(value(plausible_samples(trainer(1, 5, 900), kUnknown, Samples{1000})), 900);
    EXPECT_EQ(value(plausible_samples(trainer(1, 5, 5000), kUnknown, Samples{1000})), 1000);
    // 100 samples a second for (0.5 + 1 + 1) s, with a factor of 4.
    EXPECT_EQ(value(plausible_samples(trainer(1, 5, 5000), 0.5, Samples{10000})), 1000);
    Progress silent = trainer(1, 5, 300);
    silent.samples_per_second = 0;
    EXPECT_EQ(value(plausible_samples(silent, 3, Samples{1000})), 0);
}

TEST(Quorum, IsAMajorityOrTheHalfWithTheLowestPeer) {
    const std::vector<PeerId> members{peer(1), peer(2), peer(3), peer(4)};
    const auto of = [&](std::vector<int> there) {
        return is_quorum(members, [&](const PeerId& p) {
            return std::any_of(there.begin(), there.end(), [&](int n) { return peer(n) == p; });
        });
    };
    EXPECT_TRUE(of({2, 3, 4}));
    EXPECT_TRUE(of({1, 4}));
    EXPECT_FALSE(of({3, 4}));
    EXPECT_FALSE(of({1}));
    EXPECT_TRUE(is_quorum({}, [](const PeerId&) { return false; }));
}

TEST(Contradiction, IsTheStateOfTheLargestCampAndOfTheFurthestOfEqualOnes) {
    const auto seen = [](std::vector<Progress> live, const Progress& own) {
        const SwarmView view = judge(std::move(live), own);
        return view.contradiction ? value(view.contradiction->step) : -1;
    };
    const std::vector<Progress> company{trainer(5, 5), trainer(6, 5), trainer(7, 5), trainer(8, 5)};
    const auto in_company = [&](std::vector<Progress> live) {
        live.insert(live.end(), company.begin(), company.end());
        EXPECT_FALSE(judge(live, trainer(4, 5)).rival);
        return seen(std::move(live), trainer(4, 5));
    };
    EXPECT_EQ(in_company({}), -1);
    EXPECT_EQ(in_company({trainer(1, 4)}), -1);
    EXPECT_EQ(in_company({trainer(1, 6)}), 6);
    EXPECT_EQ(in_company({trainer(1, 6), trainer(2, 9)}), 9);
    EXPECT_EQ(in_company({trainer(1, 6), trainer(2, 6), trainer(3, 1'000'000)}), 6);
    Progress other = trainer(1, 5);
    other.digest = {99, 0};
    EXPECT_EQ(in_company({other}), -1);  // fewer than we are
}

class Book : public ::testing::Test {
  protected:
    static ProgressSettings settings() {
        ProgressSettings s;
        s.run = "test";
        s.target_batch_size = Samples{1000};
        return s;
    }
    bool hear(const Progress& progress, std::uint64_t sequence,
              ProgressBook::Source source = ProgressBook::Source::connection, Duration alive = 30s) {
        ProgressRecord record;
        record.progress = progress;
        record.sequence = sequence;
        return book_.accept(record, source, alive, now_);
    }
    bool knows(int n) { return book_.knows(peer(n)); }

    TimePoint now_{100s};
    ProgressBook book_{peer(1), settings()};
};

TEST_F(Book, KeepsTheNewestRecordWhateverTheOrderOfArrival) {
    EXPECT_TRUE(hear(trainer(2, 6), 20));
    EXPECT_FALSE(hear(trainer(2, 5), 19));
    EXPECT_FALSE(hear(trainer(2, 7), 20));
    EXPECT_EQ(value(book_.peers().at(1).step), 6);
}

TEST_F(Book, ForgetsWhatExpires) {
    hear(trainer(2, 5), 1, ProgressBook::Source::directory, 10s);
    now_ = now_ + 10s - 1ns;
    EXPECT_FALSE(book_.sweep(now_));
    now_ = now_ + 1ns;
    EXPECT_TRUE(book_.sweep(now_));
    EXPECT_FALSE(knows(2));
}

TEST_F(Book, BelievesNoRecordLongerThanItsOwnTimeToLive) {
    hear(trainer(2, 5), 1, ProgressBook::Source::directory, 600s);
    now_ = now_ + 30s;
    book_.sweep(now_);
    EXPECT_FALSE(knows(2));
}

TEST_F(Book, PeerThatSaysTheSameAgainIsStillThere) {
    hear(trainer(2, 5), 1);
    now_ = now_ + 20s;
    EXPECT_FALSE(hear(trainer(2, 5), 1));
    now_ = now_ + 20s;
    EXPECT_FALSE(book_.sweep(now_));
    EXPECT_TRUE(knows(2));
}

TEST_F(Book, GoodbyeRemovesAtOnceAndOldWordsDoNotBringThePeerBack) {
    hear(trainer(2, 5), 5);
    ProgressRecord goodbye;
    goodbye.progress.peer = peer(2);
    goodbye.progress.step = Step{5};
    goodbye.sequence = 6;
    goodbye.goodbye = true;
    EXPECT_TRUE(book_.accept(goodbye, ProgressBook::Source::connection, 30s, now_));
    EXPECT_FALSE(knows(2));
    EXPECT_TRUE(book_.has_left(peer(2), Step{5}));
    EXPECT_FALSE(book_.has_left(peer(2), Step{4}));  // who was with it then may have gone on
    EXPECT_FALSE(book_.has_left(peer(2), Step{6}));
    EXPECT_FALSE(hear(trainer(2, 5), 5));
    EXPECT_FALSE(knows(2));
    EXPECT_TRUE(hear(trainer(2, 5), 7));
    EXPECT_TRUE(book_.has_left(peer(2), Step{5}));  // its former self
}

TEST_F(Book, ForgottenPeerComesBackWhenItSpeaksButNotThroughAnEchoInTheDirectory) {
    hear(trainer(2, 5), 5);
    EXPECT_TRUE(book_.forget(peer(2)));
    EXPECT_FALSE(knows(2));
    EXPECT_FALSE(book_.has_left(peer(2), Step{5}));
    EXPECT_FALSE(hear(trainer(2, 5), 5, ProgressBook::Source::directory));
    EXPECT_TRUE(hear(trainer(2, 5), 5, ProgressBook::Source::connection));
    EXPECT_TRUE(knows(2));
}

TEST_F(Book, CountsNoMoreSamplesThanAPeerCanHaveSinceItsStepBegan) {
    book_.set_own(trainer(1, 5), now_);
    hear(trainer(2, 4), 1);
    hear(trainer(2, 5, 0), 2);
    now_ = now_ + 500ms;
    hear(trainer(2, 5, 1'000'000), 3);
    EXPECT_EQ(value(book_.view().samples), 1000);  // the target
    now_ = now_ + 100ms;
    Progress slow = trainer(2, 5, 900);
    slow.samples_per_second = 10;
    slow.micro_batch_seconds = 0.4;
    hear(slow, 4);
    EXPECT_EQ(value(book_.view().samples), 80);  // 4 * 10 * (0.6 + 0.4 + 1)
}

TEST_F(Book, WaitsForASlowPeerButNotForOneThatOnlyTalks) {
    book_.set_own(trainer(1, 5, 1000), now_);  // full from now on
    const TimePoint full_at = now_;
    const auto everybody = [](const Progress&) { return false; };
    Progress slow = trainer(2, 5, 10);
    slow.micro_batch_seconds = 10;
    hear(slow, 1);
    ASSERT_EQ(book_.expected(Step{5}, now_, everybody).size(), 1U);
    EXPECT_EQ(book_.expected(Step{5}, now_, everybody)[0].ready_by, full_at + 20250ms);
    for (std::uint64_t word = 2; word < 100; ++word) {
        now_ = now_ + 1s;
        hear(slow, word);
    }
    EXPECT_EQ(book_.expected(Step{5}, now_, everybody)[0].ready_by, full_at + 250ms + 20250ms);
}

TEST_F(Book, PromisesOfAVerySlowPeerAreBounded) {
    book_.set_own(trainer(1, 5, 1000), now_);
    Progress slow = trainer(2, 5, 10);
    slow.micro_batch_seconds = 1e6;
    hear(slow, 1);
    const auto expected = book_.expected(Step{5}, now_, [](const Progress&) { return false; });
    ASSERT_EQ(expected.size(), 1U);
    EXPECT_EQ(expected[0].ready_by, now_ + 60s);
}

TEST_F(Book, TrustsAPeerThatDoesNotComeHalfAsMuchEachTimeAndMoreAgainWhenItComes) {
    book_.set_own(trainer(1, 5, 1000), now_);
    Progress talker = trainer(2, 5, 10);
    talker.micro_batch_seconds = 1e6;
    hear(talker, 1);
    const auto patience = [&] {
        const auto expected = book_.expected(Step{5}, now_, [](const Progress&) { return false; });
        return expected.empty() ? -1 : seconds(expected[0].ready_by - now_);
    };
    const std::vector<PeerId> with{peer(1), peer(2)}, without{peer(1)};
    double granted = 60;
    for (int missed = 0; missed < 6; ++missed) {
        EXPECT_DOUBLE_EQ(patience(), granted) << missed;
        book_.keep_score(Step{5}, without, now_);
        granted /= 2;
    }
    EXPECT_EQ(patience(), -1);
    book_.keep_score(Step{5}, without, now_);
    book_.keep_score(Step{5}, with, now_);
    EXPECT_DOUBLE_EQ(patience(), 60.0 / 32);
    for (int came = 0; came < 6; ++came) book_.keep_score(Step{5}, with, now_);
    EXPECT_DOUBLE_EQ(patience(), 60);
    EXPECT_EQ(book_.trust(peer(2), now_), 1);
}

TEST_F(Book, ForgivesOneBrokenPromiseInFiveMinutesAndNoneWherePatienceWasNotAsked) {
    book_.set_own(trainer(1, 5, 1000), now_);
    hear(trainer(2, 5), 1);
    const std::vector<PeerId> without{peer(1)};
    book_.keep_score(Step{4}, without, now_);
    EXPECT_EQ(book_.trust(peer(2), now_), 1);
    book_.keep_score(Step{5}, without, now_);
    book_.keep_score(Step{5}, without, now_);
    EXPECT_EQ(book_.trust(peer(2), now_ + 5min - 1ns), 0.25);
    EXPECT_EQ(book_.trust(peer(2), now_ + 5min), 0.5);
    EXPECT_EQ(book_.trust(peer(2), now_ + 10min), 1);
}

TEST_F(Book, RemembersABoundedNumberOfTheDead) {
    for (int i = 0; i < 8192 + 10; ++i) {
        ProgressRecord goodbye;
        Digest digest;
        digest.bytes[0] = static_cast<std::uint8_t>(i);
        digest.bytes[1] = static_cast<std::uint8_t>(i >> 8);
        digest.bytes[2] = 9;
        goodbye.progress.peer = PeerId(digest);
        goodbye.sequence = 1;
        goodbye.goodbye = true;
        book_.accept(goodbye, ProgressBook::Source::connection, 30s, now_);
    }
    EXPECT_EQ(book_.dead(), 8192U);
}

TEST_F(Book, WeightIsPlausibleUpToWhatThePeerHasReportedAndCanHaveComputedSince) {
    EXPECT_EQ(book_.plausible_weight(peer(2), Step{5}, now_), std::numeric_limits<double>::infinity());
    hear(trainer(2, 5, 40), 1);  // 100 samples a second, a micro-batch a second
    EXPECT_DOUBLE_EQ(book_.plausible_weight(peer(2), Step{5}, now_), 40 + 8 * 100 * (1 + 2));
    EXPECT_DOUBLE_EQ(book_.plausible_weight(peer(2), Step{5}, now_ + 1s), 40 + 8 * 100 * (1 + 1 + 2));
    EXPECT_DOUBLE_EQ(book_.plausible_weight(peer(2), Step{6}, now_), 8 * 100 * (1 + 2));
    EXPECT_EQ(book_.plausible_weight(peer(2), Step{4}, now_), std::numeric_limits<double>::infinity());
    EXPECT_EQ(maximum_weight(Samples{1000}), 2000);
}

TEST_F(Book, VouchersAreThoseWhoHaveSaidThatTheyHoldAState) {
    hear(trainer(2, 5), 1);
    hear(trainer(2, 6), 2);
    hear(trainer(3, 5), 1);
    Progress other = trainer(4, 5);
    other.digest = {99, 0};
    hear(other, 1);
    Progress arriving = newcomer(5, 5);
    arriving.waiting = true;  // it has not got it yet
    hear(arriving, 1);
    const StateClaim claim{Step{5}, {5, 0}};
    EXPECT_EQ(book_.vouchers(claim, now_).agree, 2U);
    EXPECT_EQ(book_.vouchers(claim, now_).differ, 1U);
    book_.doubt(peer(3), now_ + 1s);
    EXPECT_EQ(book_.vouchers(claim, now_).agree, 1U);
    EXPECT_EQ(book_.vouchers(claim, now_ + 1s).agree, 2U);
}

TEST_F(Book, ExpectsTrainersAtTheStepAndHelpersOnly) {
    Progress helper = trainer(5, 4);
    helper.role = Role::auxiliary;
    helper.training = false;
    hear(trainer(2, 5), 1);
    hear(trainer(3, 4), 1);
    hear(newcomer(4, 5), 1);
    hear(helper, 1);
    std::vector<PeerId> names;
    for (const ExpectedPeer& one : book_.expected(Step{5}, now_, [](const Progress&) { return false; }))
        names.push_back(one.peer);
    EXPECT_EQ(names, (std::vector<PeerId>{peer(2), peer(5)}));
}

TEST_F(Book, WaitsForANewcomerThatAsksButNotLongAndNotOften) {
    const auto ready_by = [&]() -> std::optional<TimePoint> {
        const auto expected = book_.expected(Step{5}, now_, [](const Progress&) { return false; });
        return expected.empty() ? std::nullopt : std::optional(expected[0].ready_by);
    };
    const TimePoint asked = now_;
    Progress arriving = newcomer(2, 3);  // where the swarm was when it asked
    hear(arriving, 1);
    EXPECT_FALSE(ready_by());
    arriving.waiting = true;
    hear(arriving, 2);
    EXPECT_EQ(ready_by(), asked + 30s);
    now_ = now_ + 179s;
    hear(arriving, 3);
    EXPECT_EQ(ready_by(), asked + 30s);
    now_ = now_ + 1s;
    hear(arriving, 4);
    EXPECT_EQ(ready_by(), asked + 210s);
}

TEST_F(Book, WaitsForAllNewcomersThatAskNoLongerThanForOne) {
    const auto latest = [&] {
        TimePoint until{};
        for (const ExpectedPeer& one : book_.expected(Step{5}, now_, [](const Progress&) { return false; }))
            until = std::max(until, one.ready_by);
        return until;
    };
    const TimePoint asked = now_;
    for (std::uint64_t key = 2; key < 40; ++key) {  // one after the other, every 4 seconds
        Progress arriving = newcomer(key, 3);
        arriving.waiting = true;
        hear(arriving, 1);
        EXPECT_LE(latest(), asked + 30s);
        if (key < 5) {
            EXPECT_EQ(latest(), asked + 30s);
        }
        now_ = now_ + 4s;
    }
    ASSERT_LE(now_, asked + 180s);
    Progress arriving = newcomer(40, 3);
    arriving.waiting = true;
    now_ = asked + 180s;
    hear(arriving, 1);
    EXPECT_EQ(latest(), asked + 210s);
}

}  // namespace
}  // namespace shoal::collective
