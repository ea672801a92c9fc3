// What a peer makes of those that work for the same step: who is here, who is coming, who has gone.
#include "shoal/collective/step_group.h"

#include <gtest/gtest.h>

#include "shoal/collective/group_partition.h"

namespace shoal::collective {
namespace {

using namespace std::chrono_literals;

constexpr Step kStep{100};

PeerId peer_number(std::uint64_t number) {
    const std::string text = "peer " + std::to_string(number);
    return PeerId(sha256(as_bytes(std::string_view(text))));
}

class StepGroups : public testing::Test {
  protected:
    StepGroups() {
        ProgressSettings settings;
        settings.run = "run";
        settings.group_size = 16;
        settings.target_batch_size = Samples{1600};
        group = std::make_unique<StepGroup>(kStep, 1, peer_number(0), settings,
                                            std::make_shared<BrokenPromises>());
        Progress own;
        own.peer = peer_number(0);
        own.step = kStep;
        own.training = true;
        group->book.set_own(own, now);
    }

    bool say(std::uint64_t peer, Step step) {
        ProgressRecord words;
        words.sequence = ++sequence_;
        words.progress.peer = peer_number(peer);
        words.progress.step = step;
        words.progress.training = true;
        words.progress.micro_batch_seconds = 1;
        words.progress.samples_per_second = 1;
        return group->take(words, 30s, now);
    }

    static Step later(std::int64_t steps) { return static_cast<Step>(value(kStep) + steps); }

    TimePoint now = TimePoint() + 1000s;
    std::unique_ptr<StepGroup> group;

  private:
    std::uint64_t sequence_ = 0;
};

TEST_F(StepGroups, HeedWhoHasGoneOnBySixteenStepsAndNoFurther) {
    EXPECT_FALSE(say(1, later(kFarthestGone + 1)));
    EXPECT_TRUE(group->gone.empty());
    EXPECT_TRUE(say(1, later(kFarthestGone)));
    EXPECT_EQ(group->gone.at(peer_number(1)), later(kFarthestGone));
}

TEST_F(StepGroups, HeedWhoComesFromTheStepBeforeAndNoEarlierOne) {
    EXPECT_FALSE(say(1, later(-2)));
    EXPECT_TRUE(say(1, later(-1)));
    EXPECT_EQ(group->others().size(), 1U);
}

TEST_F(StepGroups, AreMovedByASingleOtherByOneStepHoweverFarItSaysThatItHasGone) {
    say(1, later(kFarthestGone));
    EXPECT_EQ(group->gone_to(false), kStep) << "before it has worked, by nothing";
    EXPECT_EQ(group->gone_to(true), later(1));
}

TEST_F(StepGroups, GoWhereMoreThanHalfHaveGone) {
    say(1, later(10));
    say(2, later(3));
    EXPECT_EQ(group->gone_to(false), later(3)) << "both have come this far";
    say(3, later(10));
    EXPECT_EQ(group->gone_to(false), later(10)) << "two of three";
    say(4, kStep);
    EXPECT_EQ(group->gone_to(false), later(3)) << "of four, more than two have come this far";
    say(5, kStep);
    say(6, kStep);
    EXPECT_EQ(group->gone_to(false), kStep) << "half are still here";
}

TEST_F(StepGroups, AreAtWorkWhenMoreThanHalfAre) {
    say(1, later(-1));
    EXPECT_FALSE(group->is_at_work(true)) << "it is only coming";
    say(1, kStep);
    EXPECT_TRUE(group->is_at_work(true));
    EXPECT_FALSE(group->is_at_work(false));
}

TEST_F(StepGroups, HoldNoMoreThanAThousandHoweverManyKeysThereAre) {
    for (std::uint64_t peer = 1; peer <= 1024; ++peer) EXPECT_TRUE(say(peer, kStep)) << peer;
    EXPECT_FALSE(say(1025, kStep));
    EXPECT_EQ(group->book.size(), 1024U);
    for (std::uint64_t peer = 2000; peer < 3100; ++peer) say(peer, later(1));
    EXPECT_EQ(group->gone.size(), 1024U);
    EXPECT_TRUE(say(1, kStep)) << "who is known is heard all the same";
}

}  // namespace
}  // namespace shoal::collective
