#include "shoal/collective/group_measures.h"

#include <gtest/gtest.h>

namespace shoal::collective {
namespace {

std::map<PeerId, Progress> sample_of(const std::vector<std::uint32_t>& groups) {
    std::map<PeerId, Progress> sample;
    for (std::size_t i = 0; i < groups.size(); ++i) {
        const std::string text = "peer " + std::to_string(i);
        Progress progress;
        progress.peer = PeerId(sha256(as_bytes(std::string_view(text))));
        progress.groups = groups[i];
        sample[progress.peer] = progress;
    }
    return sample;
}

TEST(GroupMeasures, TakeTheNumberOfGroupsThatMostSay) {
    GroupMeasures measures;
    EXPECT_EQ(measures.groups(), 0U);
    measures.set_groups(sample_of({32, 16, 32, 64, 32, 16}));
    EXPECT_EQ(measures.groups(), 32U);
    measures.set_groups(sample_of({0, 0, 0, 16}));
    EXPECT_EQ(measures.groups(), 16U) << "who does not know yet says nothing";
    measures.set_groups(sample_of({0, 0}));
    EXPECT_EQ(measures.groups(), 0U);
}

/// A group of which this peer has heard so many others say these times of a batch.
std::unique_ptr<StepGroup> group_that_says(const std::vector<double>& batch_seconds, TimePoint now) {
    ProgressSettings settings;
    settings.run = "run";
    settings.group_size = 16;
    settings.target_batch_size = Samples{160};
    Progress own;
    own.step = Step{7};
    own.training = true;
    own.micro_batch_seconds = 0.5;
    own.samples_per_second = 1;
    auto group =
        std::make_unique<StepGroup>(Step{7}, 1, own.peer, settings, std::make_shared<BrokenPromises>());
    group->book.set_own(own, now);
    for (auto& [peer, progress] : sample_of(std::vector<std::uint32_t>(batch_seconds.size(), 1))) {
        ProgressRecord words;
        words.sequence = 1;
        words.progress = progress;
        words.progress.step = Step{7};
        words.progress.training = true;
        words.progress.samples_per_second = 1;
        words.progress.batch_seconds = batch_seconds[group->book.size()];
        EXPECT_TRUE(group->take(words, std::chrono::seconds(30), now));
    }
    return group;
}

/// Seconds, after rounds for which this peer worked ten seconds each.
double batch_time_after(const std::vector<double>& said, int rounds) {
    const TimePoint begin = TimePoint() + std::chrono::seconds(1000);
    const auto group = group_that_says(said, begin);
    GroupMeasures measures;
    for (int i = 0; i < rounds; ++i)
        measures.learn_pace(*group, Samples{1000}, begin, begin + std::chrono::seconds(10));
    return seconds(measures.batch_time());
}

TEST(GroupMeasures, TakeTheTimeOfABatchFromOthersOnlyWhereALiarIsOutvoted) {
    EXPECT_NEAR(batch_time_after({}, 200), 10, 1e-3);
    EXPECT_GE(batch_time_after({1e-6}, 200), 8) << "one against one";
    EXPECT_NEAR(batch_time_after({1e9}, 200), 10, 1e-3) << "one against one";
    EXPECT_NEAR(batch_time_after({1e-6, 10}, 200), 10, 1e-3) << "one of three";
    EXPECT_NEAR(batch_time_after({1e9, 10}, 200), 10, 1e-3) << "one of three";
    // What most say, and what was seen for as long as anybody waits: x = 0.7 * 4 + 0.3 * 1.25 x.
    EXPECT_NEAR(batch_time_after({4, 4}, 60), 2.8 / 0.625, 1e-6);
}

std::uint32_t groups_after(std::uint32_t own, const std::vector<std::uint32_t>& said) {
    ProgressSettings settings;
    settings.run = "run";
    settings.group_size = 1;
    const TimePoint now = TimePoint() + std::chrono::seconds(1000);
    StepGroup group(Step{7}, own, PeerId(), settings, std::make_shared<BrokenPromises>());
    group.groups = own;
    for (auto& [peer, progress] : sample_of(said)) {
        ProgressRecord words;
        words.sequence = 1;
        words.progress = progress;
        words.progress.step = Step{7};
        words.progress.training = true;
        group.book.accept(words, ProgressBook::Source::directory, std::chrono::seconds(30), now);
    }
    GroupMeasures measures;
    measures.learn_size(group, std::nullopt, [](const PeerId&) { return false; });
    return measures.groups();
}

TEST(GroupMeasures, StayWithTheirOwnNumberOfGroupsWhereOthersSayAnotherAsOften) {
    EXPECT_EQ(groups_after(4, {2}), 4U);
    EXPECT_EQ(groups_after(4, {8}), 4U);
    EXPECT_EQ(groups_after(4, {2, 2}), 2U);
    EXPECT_EQ(groups_after(4, {2, 2, 4, 8, 8, 8}), 8U);
}

}  // namespace
}  // namespace shoal::collective
