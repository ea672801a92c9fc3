// What a peer knows of all others, without network or coroutines.
#include "shoal/collective/progress_book.h"

#include "collective/records_support.h"

#include <gtest/gtest.h>
#include <limits>

#include "shoal/collective/swarm_rules.h"

namespace shoal::collective {
namespace {

using namespace std::chrono_literals;
using namespace testing_support;

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

TEST_F(Book, TheDeadWhoseRecordsLiveOnCountForNothingOnceTwoThatTrainHaveSpoken) {
    using Source = ProgressBook::Source;
    for (std::uint64_t dead = 10; dead < 16; ++dead) hear(trainer(dead, 40), 1, Source::directory);
    hear(trainer(2, 60), 1, Source::directory);
    hear(trainer(3, 60), 1, Source::directory);
    EXPECT_EQ(value(book_.view().crowd), 40);
    EXPECT_TRUE(hear(trainer(2, 60), 1)) << "the same words, but now from itself";
    EXPECT_FALSE(hear(trainer(2, 60), 1));
    EXPECT_EQ(value(book_.view().crowd), 40) << "one alone may lie";
    EXPECT_TRUE(hear(trainer(3, 61), 2));
    EXPECT_EQ(value(book_.view().crowd), 60);
    EXPECT_EQ(book_.view().voters, 2U);
    EXPECT_TRUE(hear(trainer(2, 62), 2, Source::directory)) << "it has spoken before";
    EXPECT_EQ(value(book_.view().crowd), 61);
    book_.forget(peer(3));
    EXPECT_EQ(value(book_.view().crowd), 40);
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

TEST_F(Book, CountsWhatWasComputedBesideTheLastRoundWhereAveragingIsDelayed) {
    const auto counted = [this](ProgressSettings how) {
        ProgressBook book(peer(1), how);
        book.set_own(trainer(1, 5), now_);
        const auto say = [&](std::int64_t step, std::int64_t samples, std::uint64_t sequence,
                             Duration after) {
            ProgressRecord record;
            record.progress = trainer(2, step, samples);
            record.progress.samples_per_second = 10;
            record.sequence = sequence;
            book.accept(record, ProgressBook::Source::connection, 30s, now_ + after);
        };
        say(3, 0, 1, 0s);
        say(4, 0, 2, 1s);    // it arrives there after the first word of step 3
        say(5, 900, 3, 9s);  // and there after that of step 4
        return value(book.view().samples);
    };
    ProgressSettings delayed = settings();
    delayed.delayed = true;
    EXPECT_EQ(counted(settings()), 4 * 10 * (8 + 1 + 1));
    EXPECT_EQ(counted(delayed), 4 * 10 * (9 + 1 + 1));
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

/// Peer 1 and two others wait since the batch is full; peer 4 is in the middle of a micro-batch.
class LatePeers : public Book {
  protected:
    LatePeers() : adaptive_(peer(1), adaptive()) {
        adaptive_.set_own(ready(1), now_);
        now_ = now_ + 4s;  // that the batch takes
        for (const int n : {2, 3}) tell(ready(n), 1);
        tell(trainer(4, 5, 250), 1);
        adaptive_.set_own(ready(1), now_);
    }
    static ProgressSettings adaptive() {
        ProgressSettings s = settings();
        s.adaptive_quorum = true;
        return s;
    }
    static Progress ready(int n) {
        Progress progress = trainer(n, 5, 250);
        progress.waiting = true;
        return progress;
    }
    void tell(const Progress& progress, std::uint64_t sequence) {
        ProgressRecord record;
        record.progress = progress;
        record.sequence = sequence;
        adaptive_.accept(record, ProgressBook::Source::connection, 30s, now_);
    }
    /// Seconds for which a leader would wait for peer 4, from when the batch was full.
    double patience() {
        for (const ExpectedPeer& one :
             adaptive_.expected(Step{5}, now_, [](const Progress&) { return false; }))
            if (one.peer == peer(4)) return seconds(one.ready_by - now_);
        return -1;
    }
    ProgressBook adaptive_;
};

TEST_F(LatePeers, AreWaitedForWhileThatPays) {
    ASSERT_TRUE(adaptive_.batch_is_full());
    EXPECT_GE(patience(), 1) << "a micro-batch of a second, of one of four equal peers";
}

TEST_F(LatePeers, AreNotWaitedForLongerThanThat) {
    Progress slow = trainer(4, 5, 250);
    slow.samples_per_second = 1;
    slow.micro_batch_seconds = 25;
    tell(slow, 2);
    EXPECT_EQ(patience(), 0);
}

TEST_F(LatePeers, AreNotWaitedForLongerBecauseTheyClaimToBringMoreThanABatch) {
    Progress boaster = trainer(4, 5, 250);
    boaster.samples_per_second = kMaximumSamplesPerSecond;
    boaster.micro_batch_seconds = 25;
    tell(boaster, 2);
    EXPECT_EQ(patience(), 0);
}

TEST_F(LatePeers, AreNotShutOutByOneThatClaimsToBeFast) {
    const double before = patience();
    Progress boaster = ready(3);
    boaster.samples_per_second = kMaximumSamplesPerSecond;
    tell(boaster, 2);
    EXPECT_EQ(patience(), before);
}

}  // namespace
}  // namespace shoal::collective
