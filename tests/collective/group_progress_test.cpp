// The progress tracker of a swarm that averages in groups, and what it makes of those that lie.
#include "shoal/collective/group_progress.h"

#include <algorithm>
#include <gtest/gtest.h>
#include <shoal/proto/progress.pb.h>

#include "shoal/base/error.h"
#include "shoal/collective/group_partition.h"
#include "shoal/collective/progress_record.h"
#include "shoal/sim/world.h"

namespace shoal::collective {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t kPeers = 32, kGroupSize = 4;

Progress at_step(std::int64_t step, bool training = true) {
    Progress progress;
    progress.step = static_cast<Step>(step);
    progress.samples_per_second = 10;
    progress.micro_batch_seconds = 0.5;
    progress.training = training;
    return progress;
}

struct Member {
    sim::Peer peer;
    std::shared_ptr<ProgressTracker> tracker;
};

class InGroups : public ::testing::Test {
  protected:
    InGroups() {
        for (std::size_t i = 0; i < kPeers; ++i) members_.push_back(join());
    }

    Member join() {
        ProgressSettings settings;
        settings.run = "test";
        settings.target_batch_size = Samples{320};
        settings.group_size = kGroupSize;
        Member member{world_.add_peer(sim::HostSettings()), nullptr};
        member.tracker = make_progress_tracker(*member.peer.network, *member.peer.directory,
                                               *member.peer.clock, settings, Log());
        world_.simulation().run(member.tracker->start());
        return member;
    }

    /// All train at this step.
    void go_to(std::int64_t step) {
        for (const Member& member : members_) member.tracker->report(at_step(step));
        world_.simulation().run_for(2s);
    }

    void publish(const Member& liar, const std::string& key, const Progress& progress) {
        ProgressRecord record;
        record.progress = progress;
        record.sequence = 1'000'000'000'000'000;
        awaitable<void> publishing =
            liar.peer.directory->publish(key, "", encode_progress(record), std::chrono::seconds(30));
        world_.simulation().run(std::move(publishing));
    }

    bool expects(const Member& member, const PeerId& other, std::int64_t step) const {
        const auto expected = member.tracker->expected(static_cast<Step>(step));
        return std::any_of(expected.begin(), expected.end(),
                           [&other](const ExpectedPeer& one) { return one.peer == other; });
    }

    sim::World world_{11};
    std::vector<Member> members_;
};

TEST_F(InGroups, APeerExpectsItsGroupAndNobodyElse) {
    world_.simulation().run_for(3s);
    go_to(5);
    const double size = static_cast<double>(members_[0].tracker->view().peers);
    EXPECT_NEAR(size, kPeers, 1);
    const std::uint32_t groups = number_of_groups(size, kGroupSize, 0);
    ASSERT_EQ(groups, 8U);
    for (const Member& a : members_)
        for (const Member& b : members_) {
            if (a.peer.id == b.peer.id) continue;
            const bool same = group_of(a.peer.id, Step{5}, groups) == group_of(b.peer.id, Step{5}, groups);
            EXPECT_EQ(expects(a, b.peer.id, 5), same);
        }
}

TEST_F(InGroups, ThoseOnTheirWayAreExpected) {
    world_.simulation().run_for(3s);
    go_to(5);
    const Member& first = members_[0];
    first.tracker->report(at_step(6));
    world_.simulation().run_for(1s);
    for (const Member& other : members_) {
        if (other.peer.id == first.peer.id) continue;
        const bool same = group_of(first.peer.id, Step{6}, 8) == group_of(other.peer.id, Step{6}, 8);
        EXPECT_EQ(expects(first, other.peer.id, 6), same);
    }
}

TEST_F(InGroups, ARecordUnderTheKeyOfAnotherGroupCountsNothing) {
    const Member liar = join();
    world_.simulation().run_for(3s);
    go_to(5);
    for (int group = 0; group < 8; ++group)
        publish(liar, "test/group/5/" + std::to_string(group), at_step(5));
    world_.simulation().run_for(2s);
    int believed = 0;
    for (const Member& member : members_) {
        const bool same = group_of(member.peer.id, Step{5}, 8) == group_of(liar.peer.id, Step{5}, 8);
        EXPECT_EQ(expects(member, liar.peer.id, 5), same);
        believed += same ? 1 : 0;
    }
    EXPECT_LT(believed, static_cast<int>(kPeers) / 2);
}

TEST_F(InGroups, ARecordOfAnotherStepCountsNothing) {
    const Member liar = join();
    world_.simulation().run_for(3s);
    go_to(5);
    for (const std::int64_t step : {0, 3, 6, 1'000'000})
        for (int group = 0; group < 8; ++group)
            publish(liar, "test/group/5/" + std::to_string(group), at_step(step));
    world_.simulation().run_for(2s);
    for (const Member& member : members_) {
        EXPECT_FALSE(expects(member, liar.peer.id, 5));
        EXPECT_EQ(value(member.tracker->view().step), 5);
    }
}

TEST_F(InGroups, AnAbsurdSizeOfTheSwarmIsNotBelieved) {
    const Member liar = join();
    world_.simulation().run_for(3s);
    Progress absurd = at_step(5);
    absurd.swarm_size = kMaximumSwarmSize;
    go_to(5);
    for (int group = 0; group < 8; ++group) publish(liar, "test/group/5/" + std::to_string(group), absurd);
    world_.simulation().run_for(1s);
    go_to(6);
    for (const Member& member : members_) EXPECT_LT(member.tracker->view().peers, 2 * kPeers);
}

TEST_F(InGroups, AClaimInTheCensusUnderAnothersLevelCountsNothing) {
    const Member liar = join();
    for (unsigned level = 0; level < kCensusLevels; ++level)
        if (level != census_level(liar.peer.id))
            publish(liar, "test/census/" + std::to_string(level), at_step(1'000'000));
    world_.simulation().run_for(3s);
    for (const Member& member : members_) {
        EXPECT_EQ(value(member.tracker->view().step), 0);
        EXPECT_LE(member.tracker->view().peers, kPeers + 1);
    }
}

TEST(GroupProgressRecord, ASizeBeyondTheBoundIsRefusedWithTheRecord) {
    const PeerId owner;
    proto::ProgressRecord record;
    record.set_swarm_size(1e7F);
    const auto bytes = [&record] {
        Bytes encoded(record.ByteSizeLong());
        record.SerializeToArray(encoded.data(), static_cast<int>(encoded.size()));
        return encoded;
    };
    EXPECT_DOUBLE_EQ(decode_progress(bytes(), owner).progress.swarm_size, 1e7);
    for (const float wrong :
         {1.001e7F, -1.0F, std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
        record.set_swarm_size(wrong);
        EXPECT_THROW(decode_progress(bytes(), owner), Error) << wrong;
    }
}

}  // namespace
}  // namespace shoal::collective
