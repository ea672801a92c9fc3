// The progress tracker of a swarm that averages in groups, and what it makes of those that lie.
#include "shoal/collective/group_progress.h"

#include <algorithm>
#include <gtest/gtest.h>
#include <shoal/proto/progress.pb.h>

#include "shoal/base/error.h"
#include "shoal/collective/broken_promises.h"
#include "shoal/collective/group_partition.h"
#include "shoal/collective/progress_record.h"
#include "shoal/collective/step_group.h"
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
        member.tracker->report(at_step(0, false));
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

TEST_F(InGroups, KeysMadeForTheCensusMoveNobodyWhoTrains) {
    world_.simulation().run_for(3s);
    go_to(5);
    Progress absurd = at_step(1'000'000);
    absurd.swarm_size = kMaximumSwarmSize;
    for (std::size_t i = 0; i < 2 * kPeers; ++i) {
        const Member liar = join();
        publish(liar, "test/census/" + std::to_string(census_level(liar.peer.id)), absurd);
    }
    for (std::int64_t step = 6; step < 12; ++step) {
        go_to(step);
        for (const Member& member : members_) {
            EXPECT_EQ(value(member.tracker->view().step), step);
            EXPECT_LT(member.tracker->view().peers, 4 * kPeers);
        }
    }
}

/// Those who are in one group of step 5 as all of them believe.
std::vector<std::size_t> group_of_first(const std::vector<Member>& members, std::int64_t step) {
    std::vector<std::size_t> all;
    for (std::size_t i = 0; i < members.size(); ++i)
        if (group_of(members[i].peer.id, static_cast<Step>(step), 8) ==
            group_of(members[0].peer.id, static_cast<Step>(step), 8))
            all.push_back(i);
    return all;
}

/// A step from 5 on at which so many are in the first one's group.
std::int64_t step_with_group_of(const std::vector<Member>& members, std::size_t size) {
    std::int64_t step = 5;
    while (group_of_first(members, step).size() != size) ++step;
    return step;
}

TEST_F(InGroups, WhoIsLeftBehindLearnsItFromThoseThatGoOn) {
    world_.simulation().run_for(3s);
    const std::int64_t step = step_with_group_of(members_, 4);
    go_to(step);
    Progress late = at_step(step);
    late.samples = Samples{4};
    members_[0].tracker->report(late);
    world_.simulation().run_for(1s);
    std::size_t gone = 0;
    for (const std::size_t member : group_of_first(members_, step)) {
        if (member == 0) continue;
        EXPECT_EQ(value(members_[0].tracker->view().step), step + (gone > 1 ? 1 : 0)) << gone;
        members_[member].tracker->report(at_step(step + 1));
        world_.simulation().run_for(1s);
        ++gone;
    }
    EXPECT_EQ(value(members_[0].tracker->view().step), step + 1);
    EXPECT_TRUE(members_[0].tracker->expected(static_cast<Step>(step)).empty());
}

TEST_F(InGroups, AloneInItsGroupAPeerGathersItsOwnPartOfTheBatch) {
    world_.simulation().run_for(3s);
    const std::int64_t step = step_with_group_of(members_, 1);
    go_to(step - 1);
    go_to(step);
    ProgressTracker& alone = *members_[0].tracker;
    Progress own = at_step(step);
    for (const std::int64_t samples : {1, 8, 12}) {  // of 320 among 32, by an estimate of their number
        own.samples = static_cast<Samples>(samples);
        alone.report(own);
        EXPECT_EQ(alone.batch_is_full(), samples > 8) << samples;
    }
    const Member newcomer = join();
    newcomer.tracker->report(at_step(step));
    world_.simulation().run_for(2s);
    const bool same = group_of(newcomer.peer.id, static_cast<Step>(step), 8) ==
                      group_of(members_[0].peer.id, static_cast<Step>(step), 8);
    EXPECT_EQ(alone.batch_is_full(), !same);
}

TEST_F(InGroups, NobodyWeighsMoreThanTwiceAGroupsPart) {
    world_.simulation().run_for(3s);
    go_to(5);
    const std::size_t other = group_of_first(members_, 5).back();
    const auto weight = [&](const PeerId& peer) {
        return members_[0].tracker->plausible_weight(peer, Step{5});
    };
    const double part = 320.0 * kGroupSize / kPeers;
    EXPECT_LE(weight(join().peer.id), 2.5 * part);
    EXPECT_LE(weight(members_[other].peer.id), 4 * part);
    EXPECT_LT(weight(members_[0].peer.id), weight(join().peer.id));
    EXPECT_FALSE(members_[0].tracker->may_take_part(join().peer.id, Step{5}));
    EXPECT_TRUE(other == 0 || members_[0].tracker->may_take_part(members_[other].peer.id, Step{5}));
}

/// A group's book at step 5 of a peer that has entered it at once, and is full a second later.
class GroupBook : public ::testing::Test {
  protected:
    GroupBook() {
        ProgressSettings settings;
        settings.run = "test";
        settings.target_batch_size = Samples{320};
        settings.group_size = kGroupSize;
        group_ = std::make_unique<StepGroup>(Step{5}, 1, world_.add_peer(sim::HostSettings()).id, settings,
                                             promises_);
        group_->book.set_own(at_step(5), TimePoint{0s});
        group_->book.expect_the_coming(2s);
        group_->book.share_batch(kPeers, TimePoint{0s});
    }

    void say(const PeerId& peer, const Progress& progress, TimePoint now) {
        ProgressRecord record;
        record.progress = progress;
        record.progress.peer = peer;
        record.sequence = ++sequence_;
        group_->take(record, 30s, now);
    }
    std::optional<TimePoint> expects(const PeerId& peer, TimePoint now) {
        const auto unreachable = [](const Progress&) { return false; };
        for (const ExpectedPeer& one : group_->book.expected(Step{5}, now, unreachable))
            if (one.peer == peer) return one.ready_by;
        return std::nullopt;
    }
    void fill(TimePoint now) {
        Progress own = at_step(5);
        own.samples = Samples{320};
        group_->book.set_own(own, now);
    }

    sim::World world_{12};
    std::shared_ptr<BrokenPromises> promises_ = std::make_shared<BrokenPromises>();
    std::unique_ptr<StepGroup> group_;
    std::uint64_t sequence_ = 0;
};

TEST_F(GroupBook, WhoAnnouncesItselfAgainAndAgainGainsNothing) {
    const PeerId silent = world_.add_peer(sim::HostSettings()).id;
    Progress coming = at_step(4);
    coming.micro_batch_seconds = 2;
    say(silent, coming, TimePoint{0s});
    fill(TimePoint{1s});
    for (int second = 2; second < 60; ++second) {
        say(silent, coming, TimePoint{std::chrono::seconds(second)});
        const auto until = expects(silent, TimePoint{std::chrono::seconds(second)});
        ASSERT_TRUE(until);
        EXPECT_LE(*until, TimePoint{3s});
    }
}

TEST_F(GroupBook, WhoIsOnItsWayIsWaitedForAsLongAsItNeedsAndTwoBatchesAtMost) {
    const PeerId quick = world_.add_peer(sim::HostSettings()).id,
                 slow = world_.add_peer(sim::HostSettings()).id;
    Progress coming = at_step(4);
    coming.micro_batch_seconds = 0.25;
    say(quick, coming, TimePoint{0s});
    coming.micro_batch_seconds = 2;
    say(slow, coming, TimePoint{0s});
    fill(TimePoint{1s});
    EXPECT_EQ(expects(quick, TimePoint{1s}), TimePoint{750ms});
    EXPECT_EQ(expects(slow, TimePoint{1s}), TimePoint{2s});
    coming.micro_batch_seconds = 2.1;  // it cannot be here in time
    say(slow, coming, TimePoint{1s});
    EXPECT_FALSE(expects(slow, TimePoint{1s}));
}

TEST_F(GroupBook, ABrokenPromiseCountsInTheGroupsThatFollow) {
    const PeerId silent = world_.add_peer(sim::HostSettings()).id;
    say(silent, at_step(4), TimePoint{0s});
    fill(TimePoint{1s});
    group_->book.keep_score(Step{5}, {}, TimePoint{2s});
    EXPECT_EQ(promises_->trust(silent, TimePoint{2s}), 0.5);
    for (int i = 0; i < 5; ++i) group_->book.keep_score(Step{5}, {}, TimePoint{2s});
    EXPECT_FALSE(expects(silent, TimePoint{2s}));
    group_->book.keep_score(Step{5}, std::vector<PeerId>{silent}, TimePoint{2s});
    EXPECT_TRUE(expects(silent, TimePoint{2s}));
}

TEST_F(GroupBook, WhoHasGoneFartherThanAnybodyCouldIsNotHeeded) {
    const PeerId peer = world_.add_peer(sim::HostSettings()).id;
    say(peer, at_step(5 + kFarthestGone + 1), TimePoint{0s});
    EXPECT_TRUE(group_->gone.empty());
    say(peer, at_step(5 + kFarthestGone), TimePoint{0s});
    EXPECT_EQ(group_->gone.size(), 1U);
    EXPECT_EQ(group_->gone_to(false), Step{5});  // its word alone
    EXPECT_EQ(group_->gone_to(true), Step{6});   // and one step of the way
}

TEST(BrokenPromisesTest, RemembersABoundedNumberOfPeers) {
    sim::World world(13);
    BrokenPromises promises;
    PeerId first;
    for (std::size_t i = 0; i <= BrokenPromises::kMaximumPeers; ++i) {
        std::array<std::uint8_t, 32> bytes{};
        for (std::size_t b = 0; b < 4; ++b) bytes[b] = static_cast<std::uint8_t>(i >> (8 * b));
        const PeerId peer = PeerId::from_bytes(bytes);
        if (i == 0) first = peer;
        promises.broke(peer, TimePoint{std::chrono::milliseconds(i)});
    }
    EXPECT_EQ(promises.peers(), BrokenPromises::kMaximumPeers);
    EXPECT_EQ(promises.count(first, TimePoint{10s}), 0U);
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
    record.set_batch_seconds(1e6F);
    EXPECT_DOUBLE_EQ(decode_progress(bytes(), owner).progress.swarm_size, 1e7);
    EXPECT_DOUBLE_EQ(decode_progress(bytes(), owner).progress.batch_seconds, 1e6);
    for (const float wrong : {1.001e6F, -1.0F, std::numeric_limits<float>::quiet_NaN()}) {
        record.set_batch_seconds(wrong);
        EXPECT_THROW(decode_progress(bytes(), owner), Error) << wrong;
    }
    record.set_batch_seconds(0);
    for (const float wrong :
         {1.001e7F, -1.0F, std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
        record.set_swarm_size(wrong);
        EXPECT_THROW(decode_progress(bytes(), owner), Error) << wrong;
    }
}

}  // namespace
}  // namespace shoal::collective
