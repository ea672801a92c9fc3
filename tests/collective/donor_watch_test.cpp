// The rules by which a receiver of state waits for its donors, at their bounds.
#include "shoal/collective/donor_watch.h"

#include <gtest/gtest.h>

#include "shoal/collective/state_messages.h"

namespace shoal::collective {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t kOwed = 100'000;

class Watching : public ::testing::Test {
  protected:
    Watching() {
        watch.set_most_owed(kOwed);
        for (const PeerId& donor : {silent, busy}) {
            watch.activate(donor);
            watch.asked(donor, TimePoint());
        }
    }
    static TimePoint at(Duration time) { return TimePoint() + time; }

    const PeerId silent = PeerId(sha256(as_bytes("silent"))), busy = PeerId(sha256(as_bytes("busy")));
    DonorWatch watch{1500ms};
};

TEST_F(Watching, ADonorIsOvertakenWhenTheOthersBroughtMoreThanAllThatIsUnderWay) {
    watch.moved(busy, 2 * kOwed, at(1s));
    EXPECT_FALSE(watch.is_overtaken(silent));
    watch.moved(busy, 1, at(1s));
    EXPECT_TRUE(watch.is_overtaken(silent));
    EXPECT_FALSE(watch.is_overtaken(busy));
}

TEST_F(Watching, AnOvertakenDonorIsGivenUpAfterTwiceThatAndTheTimeOut) {
    watch.moved(busy, 4 * kOwed, at(1s));
    EXPECT_FALSE(watch.is_to_be_given_up(silent, at(5s)));
    watch.moved(busy, 1, at(1400ms));
    EXPECT_FALSE(watch.is_to_be_given_up(silent, at(1500ms) - Duration(1)));
    EXPECT_TRUE(watch.is_to_be_given_up(silent, at(1500ms)));
    EXPECT_FALSE(watch.is_to_be_given_up(busy, at(1500ms)));
}

TEST_F(Watching, APieceMakesUpForEverything) {
    watch.moved(busy, 5 * kOwed, at(1s));
    watch.moved(silent, 1, at(2s));
    EXPECT_FALSE(watch.is_overtaken(silent));
    EXPECT_FALSE(watch.is_to_be_given_up(silent, at(4s)));
}

TEST_F(Watching, NobodyIsOvertakenBeforeTheSizeOfAChunkIsKnown) {
    DonorWatch fresh(1500ms);
    for (const PeerId& donor : {silent, busy}) {
        fresh.activate(donor);
        fresh.asked(donor, TimePoint());
    }
    fresh.moved(busy, 1000 * kOwed, at(2s));
    EXPECT_FALSE(fresh.is_overtaken(silent));
    EXPECT_FALSE(fresh.is_to_be_given_up(silent, at(2s)));
}

TEST_F(Watching, WhenNobodyDeliversTheWaitEndsAfterAPieceOfEachOnTheSlowestLine) {
    const Duration longest = 1500ms + from_seconds(2.0 * kPieceBytes / kSlowestLine);
    EXPECT_EQ(watch.longest_silence(), longest);
    watch.moved(busy, 1, at(1s));
    EXPECT_EQ(watch.quiet(at(4s)), 3s);
    EXPECT_FALSE(watch.is_to_be_given_up(silent, at(1s) + longest - Duration(1)));
    EXPECT_TRUE(watch.is_to_be_given_up(silent, at(1s) + longest));
    watch.remove(busy);
    EXPECT_EQ(watch.longest_silence(), 1500ms + from_seconds(kPieceBytes / kSlowestLine));
}

TEST_F(Watching, WhileOthersDeliverTheyMayBeWhatADonorWaitsFor) {
    for (int second = 1; second <= 60; ++second) watch.moved(busy, 1000, at(std::chrono::seconds(second)));
    EXPECT_FALSE(watch.is_to_be_given_up(silent, at(60s)));
}

TEST_F(Watching, WhoWasAskedJustNowIsNotToBlameForALongSilence) {
    watch.rests(busy, at(0s));
    watch.asked(busy, at(1h));
    EXPECT_TRUE(watch.is_to_be_given_up(silent, at(1h)));
    EXPECT_FALSE(watch.is_to_be_given_up(busy, at(1h)));
}

TEST_F(Watching, WhoOwesNothingIsNeverGivenUp) {
    watch.rests(silent, at(0s));
    watch.moved(busy, 1000 * kOwed, at(1s));
    EXPECT_EQ(watch.silence(silent, at(1h)), 0s);
    EXPECT_FALSE(watch.is_overtaken(silent));
    EXPECT_FALSE(watch.is_to_be_given_up(silent, at(1h)));
    watch.rests(busy, at(1s));
    EXPECT_EQ(watch.quiet(at(1h)), 0s);
}

TEST_F(Watching, AnOfferMayTakeAFewSeconds) {
    DonorWatch fresh(1500ms);
    fresh.asked(silent, TimePoint());
    EXPECT_FALSE(fresh.is_to_be_given_up(silent, at(kOfferPatience - Duration(1))));
    EXPECT_TRUE(fresh.is_to_be_given_up(silent, at(kOfferPatience)));
    fresh.moved(silent, 0, at(9s));
    EXPECT_FALSE(fresh.is_to_be_given_up(silent, at(9s + kOfferPatience - Duration(1))));
    EXPECT_TRUE(fresh.is_to_be_given_up(silent, at(9s + kOfferPatience)));
}

TEST_F(Watching, TimesFollowFromWhatWasDelivered) {
    EXPECT_FALSE(watch.time_for(busy, 1000, at(1s)));
    EXPECT_FALSE(watch.usual_time_for(1000, at(1s)));
    watch.moved(busy, 1000, at(1s));
    EXPECT_EQ(watch.time_for(busy, 3000, at(1s)), 3s);
    EXPECT_EQ(watch.usual_time_for(1000, at(1s)), 2s);
    watch.rests(busy, at(1s));
    EXPECT_EQ(watch.time_for(busy, 3000, at(1h)), 3s);
    watch.asked(busy, at(1h));
    watch.moved(busy, 3000, at(1h + 1s));
    EXPECT_EQ(watch.time_for(busy, 1000, at(1h + 1s)), 500ms);
}

}  // namespace
}  // namespace shoal::collective
