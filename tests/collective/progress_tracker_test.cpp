// The progress tracker among simulated peers.
#include <algorithm>
#include <gtest/gtest.h>

#include "shoal/collective/progress.h"
#include "shoal/collective/progress_record.h"
#include "shoal/collective/record_pace.h"
#include "shoal/collective/report_pace.h"
#include "shoal/sim/world.h"

namespace shoal::collective {
namespace {

using namespace std::chrono_literals;

ProgressSettings settings() {
    ProgressSettings s;
    s.run = "test";
    s.target_batch_size = Samples{1000};
    return s;
}

Progress at_step(std::int64_t step, std::int64_t samples = 0) {
    Progress progress;
    progress.name = "peer";
    progress.step = static_cast<Step>(step);
    progress.samples = static_cast<Samples>(samples);
    progress.samples_per_second = 1000;
    progress.micro_batch_seconds = 0.1;
    progress.training = true;
    return progress;
}

Progress slow_at_step(std::int64_t step, std::int64_t samples) {
    Progress progress = at_step(step, samples);
    progress.samples_per_second = 1;
    return progress;
}

struct Member {
    sim::Peer peer;
    std::shared_ptr<ProgressTracker> tracker;
};

class Tracking : public ::testing::TestWithParam<std::uint64_t> {
  protected:
    Member join(sim::HostSettings host = {}) {
        Member member{world_.add_peer(host), nullptr};
        member.tracker = make_progress_tracker(*member.peer.network, *member.peer.directory,
                                               *member.peer.clock, settings(), Log());
        world_.simulation().run(member.tracker->start());
        return member;
    }
    void run_for(Duration duration) { world_.simulation().run_for(duration); }
    bool happens(const std::function<bool()>& condition, Duration within) {
        return world_.simulation().run_until(condition, within);
    }
    Duration now() { return world_.simulation().clock().now().since_start; }

    sim::World world_{GetParam()};
};

TEST_P(Tracking, PeersLearnOfEachOtherThroughTheDirectory) {
    Member a = join(), b = join(), c = join();
    a.tracker->report(at_step(3, 100));
    b.tracker->report(at_step(3, 200));
    c.tracker->report(at_step(4, 50));
    const auto all_know = [&] {
        return a.tracker->view().peers == 3 && b.tracker->view().peers == 3 && c.tracker->view().peers == 3;
    };
    EXPECT_TRUE(happens(all_know, 200ms));
    EXPECT_EQ(value(a.tracker->view().step), 3);  // one peer alone proves no step
    EXPECT_EQ(value(a.tracker->view().samples), 300);
    EXPECT_EQ(a.tracker->peers().size(), 3U);
}

awaitable<void> count_changes(ProgressTracker& tracker, std::shared_ptr<int> count) {
    for (;;) {
        co_await tracker.changed().wait();
        ++*count;
    }
}

awaitable<void> say_much(net::Network& network, Clock& clock, PeerId listener, int records,
                         Duration between) {
    const net::StreamPointer stream = co_await network.open(listener, "test/progress");
    for (int i = 1; i <= records; ++i) {
        ProgressRecord record;
        record.progress = at_step(3, i);
        record.sequence = static_cast<std::uint64_t>(i);
        const Bytes words = encode_progress(record);
        co_await stream->write(words, ByteView());
        co_await clock.sleep_for(between);
    }
}

TEST_P(Tracking, WhoTalksMuchIsHeardAFewTimesASecondAndTheNewestWordCounts) {
    Member a = join();
    a.tracker->report(at_step(3, 0));
    const sim::Peer talker = world_.add_peer();
    run_for(1s);
    const auto changes = std::make_shared<int>(0);
    TaskGroup tasks(world_.executor());
    tasks.spawn(count_changes(*a.tracker, changes));
    tasks.spawn(say_much(*talker.network, *talker.clock, a.peer.id, 4000, 500us));
    run_for(2s);
    EXPECT_GE(*changes, 40);
    EXPECT_LE(*changes, RecordPace::kAtOnce + 2 * RecordPace::kPerSecond + 2);  // 2: it has connected
    EXPECT_TRUE(happens(
        [&] {
            const std::vector<Progress> all = a.tracker->peers();
            return std::any_of(all.begin(), all.end(), [&](const Progress& p) {
                return p.peer == talker.id && value(p.samples) == 1000;
            });
        },
        200ms));
    tasks.cancel();
    run_for(1s);
}

TEST(RecordPaceTest, AllowsAFewAtOnceAndThenOneInEachInterval) {
    RecordPace pace;
    const TimePoint now{100s};
    for (int i = 0; i < RecordPace::kAtOnce; ++i) EXPECT_TRUE(pace.may_look(now));
    EXPECT_FALSE(pace.may_look(now));
    EXPECT_EQ(pace.next_look(), now + 5ms);
    EXPECT_FALSE(pace.may_look(now + 5ms - 1ns));
    EXPECT_TRUE(pace.may_look(now + 5ms));
    EXPECT_FALSE(pace.may_look(now + 5ms));
    for (int i = 0; i < RecordPace::kAtOnce; ++i) EXPECT_TRUE(pace.may_look(now + 1h));
    EXPECT_FALSE(pace.may_look(now + 1h));
}

TEST_P(Tracking, FullBatchIsNoticedWithinOneRoundTrip) {
    sim::HostSettings far;
    far.latency = 40ms;
    Member a = join(far), b = join(far);
    a.tracker->report(at_step(3, 400));
    b.tracker->report(at_step(3, 500));
    run_for(2s);
    ASSERT_FALSE(a.tracker->batch_is_full());
    b.tracker->report(at_step(3, 600));
    EXPECT_TRUE(b.tracker->batch_is_full());
    EXPECT_TRUE(happens([&] { return a.tracker->batch_is_full(); }, 160ms));
    EXPECT_EQ(value(a.tracker->view().samples), 1000);
}

TEST_P(Tracking, SamplesAloneAreToldSeldomWhileTheBatchIsFarFromFullAndAtOnceWhenItIs) {
    Member a = join(), b = join();
    b.tracker->report(slow_at_step(3, 0));
    run_for(1s);
    const auto changes = std::make_shared<int>(0);
    TaskGroup tasks(world_.executor());
    tasks.spawn(count_changes(*b.tracker, changes));
    const auto report = [&](std::int64_t samples) {
        Progress own = slow_at_step(3, samples);
        own.samples_per_second = 50;
        a.tracker->report(own);
    };
    for (int i = 0; i < 1999; ++i) {  // 20 s; the batch is 1000
        report(i / 2);
        run_for(10ms);
    }
    EXPECT_GE(*changes, 20);
    EXPECT_LE(*changes, 120);
    EXPECT_FALSE(b.tracker->batch_is_full());
    report(1000);
    EXPECT_TRUE(happens([&] { return b.tracker->batch_is_full(); }, 160ms));
    tasks.cancel();
    run_for(1s);
}

TEST_P(Tracking, WhatIsNewsIsToldAtOnceAndTheLastSamplesWithinTheLongestSilence) {
    Member a = join(), b = join();
    b.tracker->report(slow_at_step(3, 0));
    const auto heard = [&](auto condition) {
        return [&b, &a, condition] {
            const std::vector<Progress> all = b.tracker->peers();
            return std::any_of(all.begin(), all.end(),
                               [&](const Progress& p) { return p.peer == a.peer.id && condition(p); });
        };
    };
    Progress own = slow_at_step(3, 10);
    a.tracker->report(own);
    ASSERT_TRUE(happens(heard([](const Progress& p) { return value(p.samples) == 10; }), 500ms));
    own.samples = Samples{20};
    a.tracker->report(own);
    EXPECT_FALSE(
        happens(heard([](const Progress& p) { return value(p.samples) == 20; }), kLongestSilence / 2));
    EXPECT_TRUE(happens(heard([](const Progress& p) { return value(p.samples) == 20; }), kLongestSilence));
    own.waiting = true;
    a.tracker->report(own);
    EXPECT_TRUE(happens(heard([](const Progress& p) { return p.waiting; }), 160ms));
    own.samples = Samples{};
    own.step = Step{4};
    a.tracker->report(own);
    EXPECT_TRUE(happens(heard([](const Progress& p) { return value(p.step) == 4; }), 160ms));
}

TEST_P(Tracking, DirectoryIsWrittenAtMostOnceInAReportIntervalAndForSamplesAloneSeldom) {
    Member a = join(), b = join();
    int records = 0;
    const auto watching = b.peer.directory->watch("test/progress", [&](const dht::Record& record) {
        if (record.owner == a.peer.id) ++records;
    });
    for (int i = 0; i < 200; ++i) {
        Progress own = at_step(3, i);
        own.attempt = static_cast<unsigned>(i);
        a.tracker->report(own);
        run_for(10ms);
    }
    EXPECT_GE(records, 5);
    EXPECT_LE(records, 9);  // 2 seconds, one record in 250 ms
    EXPECT_TRUE(happens([&] { return b.tracker->peers().size() == 2; }, 1s));
    run_for(1s);
    records = 0;
    for (int i = 0; i < 3000; ++i) {
        Progress own = at_step(3, i);
        own.attempt = 199;
        a.tracker->report(own);
        run_for(10ms);
    }
    EXPECT_GE(records, 2);
    EXPECT_LE(records, 4);  // 30 seconds, the time to live: repeated every 10
}

TEST_P(Tracking, GoodbyeRemovesAPeerAtOnce) {
    Member a = join(), b = join(), c = join();
    for (Member* member : {&a, &b, &c}) member->tracker->report(at_step(3, 100));
    run_for(1s);
    ASSERT_EQ(a.tracker->view().peers, 3U);
    world_.simulation().run(c.tracker->stop(), 5s);
    run_for(50ms);
    EXPECT_EQ(a.tracker->view().peers, 2U);
    EXPECT_TRUE(a.tracker->has_left(c.peer.id, Step{3}));
    EXPECT_TRUE(b.tracker->has_left(c.peer.id, Step{3}));
    run_for(60s);
    EXPECT_EQ(a.tracker->view().peers, 2U);
}

/// A directory in which nobody answers.
class MuteDirectory final : public dht::Directory {
  public:
    explicit MuteDirectory(const asio::any_io_executor& executor) : never_(executor) {}
    awaitable<void> publish(std::string, std::string, Bytes, Duration) override { co_await never_.wait(); }
    awaitable<std::vector<dht::Record>> read(std::string) override {
        co_await never_.wait();
        co_return std::vector<dht::Record>();
    }
    std::shared_ptr<void> watch(std::string, dht::Watcher) override { return nullptr; }

  private:
    Signal never_;
};

TEST_P(Tracking, GoodbyeDoesNotWaitForThoseWhoDoNotAnswer) {
    Member frozen = join();
    frozen.tracker->report(at_step(3, 100));
    const sim::Peer peer = world_.add_peer();
    MuteDirectory directory(world_.executor());
    auto tracker = make_progress_tracker(*peer.network, directory, *peer.clock, settings(), Log());
    world_.simulation().run(tracker->start());
    const auto open = [](net::Network& network, PeerId to) -> awaitable<void> {
        co_await network.open(to, "nothing");
    };
    world_.simulation().run(open(*peer.network, frozen.peer.id));
    tracker->report(at_step(3, 100));
    run_for(500ms);
    world_.internet().freeze(frozen.peer.id);
    const Duration start = now();
    world_.simulation().run(tracker->stop(), 5s);
    EXPECT_LE(now() - start, 500ms);
}

TEST_P(Tracking, CrashedPeerIsForgottenWhenItsConnectionBreaks) {
    Member a = join(), b = join();
    a.tracker->report(at_step(3, 100));
    b.tracker->report(at_step(3, 900));
    run_for(1s);
    ASSERT_TRUE(a.tracker->batch_is_full());
    world_.internet().crash(b.peer.id);
    EXPECT_TRUE(happens([&] { return a.tracker->view().peers == 1; }, 100ms));
    EXPECT_FALSE(a.tracker->batch_is_full());
    EXPECT_FALSE(a.tracker->has_left(b.peer.id, Step{3}));
    EXPECT_TRUE(a.tracker->expected(Step{3}).empty());
}

TEST_P(Tracking, FrozenPeerIsForgottenAndComesBackWhenItThaws) {
    Member a = join(), b = join();
    a.tracker->report(at_step(3, 100));
    b.tracker->report(at_step(3, 200));
    run_for(1s);
    world_.internet().freeze(b.peer.id);
    EXPECT_TRUE(happens([&] { return a.tracker->view().peers == 1; }, 3s));
    run_for(20s);
    EXPECT_EQ(a.tracker->view().peers, 1U);
    world_.internet().thaw(b.peer.id);
    EXPECT_TRUE(happens([&] { return a.tracker->view().peers == 2 && b.tracker->view().peers == 2; }, 10s));
}

TEST_P(Tracking, CutConnectionIsMadeAgain) {
    Member a = join(), b = join();
    a.tracker->report(at_step(3, 100));
    b.tracker->report(at_step(3, 200));
    run_for(1s);
    world_.internet().cut(a.peer.id, b.peer.id);
    run_for(1s);
    a.tracker->report(at_step(3, 300));
    EXPECT_TRUE(happens([&] { return value(b.tracker->view().samples) == 500; }, 500ms));
    EXPECT_TRUE(happens([&] { return value(a.tracker->view().samples) == 500; }, 500ms));
}

TEST_P(Tracking, PeerThatComputesForMinutesIsNotForgotten) {
    Member a = join(), b = join();
    a.tracker->report(at_step(3, 100));
    b.tracker->report(at_step(3, 200));
    run_for(5min);
    EXPECT_EQ(a.tracker->view().peers, 2U);
}

TEST_P(Tracking, ClientModePeersAreHeardThroughTheDirectoryAndOthers) {
    sim::HostSettings client;
    client.accept_connections = false;
    Member a = join(), b = join(client), c = join(client);
    Progress behind_nat = at_step(3, 100);
    behind_nat.role = Role::client;
    a.tracker->report(at_step(3, 100));
    b.tracker->report(behind_nat);
    c.tracker->report(behind_nat);
    run_for(1s);
    EXPECT_EQ(a.tracker->expected(Step{3}).size(), 2U);
    // The two cannot meet, so neither would wait for the other.
    ASSERT_EQ(b.tracker->expected(Step{3}).size(), 1U);
    EXPECT_EQ(b.tracker->expected(Step{3})[0].peer, a.peer.id);
    EXPECT_EQ(b.tracker->view().peers, 3U);
}

TEST_P(Tracking, LoneLiarMovesNobodyNotEvenANewcomer) {
    Member a = join(), b = join(), liar = join();
    liar.tracker->report(at_step(1'000'000'000, 1'000'000'000));
    a.tracker->report(at_step(3, 100));
    b.tracker->report(at_step(3, 100));
    run_for(1s);
    EXPECT_EQ(value(a.tracker->view().step), 3);
    EXPECT_EQ(value(a.tracker->view().samples), 200);
    Member c = join();
    Progress newcomer = at_step(0);
    newcomer.training = false;
    c.tracker->report(newcomer);
    run_for(1s);
    EXPECT_EQ(value(c.tracker->view().step), 3);
}

TEST_P(Tracking, MalformedRecordsAndMessagesChangeNothing) {
    Member a = join(), b = join();
    a.tracker->report(at_step(3, 100));
    b.tracker->report(at_step(3, 100));
    run_for(1s);
    dht::Record record;
    record.key = "test/progress";
    record.owner = b.peer.id;
    record.sequence = 1'000'000'000'000'000'000;
    record.expires = world_.simulation().clock().wall_now() + std::chrono::seconds(20);
    record.value = to_bytes("no protobuf \xff\xff\xff");
    world_.directory().inject(record);
    awaitable<net::StreamPointer> opening = b.peer.network->open(a.peer.id, "test/progress");
    const net::StreamPointer stream = world_.simulation().run(std::move(opening), 5s);
    const Bytes garbage(100'000, 0xEE);
    world_.simulation().run(stream->write(garbage, garbage), 5s);
    run_for(1s);
    EXPECT_THROW(world_.simulation().run(stream->write(garbage, garbage), 5s), Error);
    EXPECT_EQ(a.tracker->view().peers, 2U);
    b.tracker->report(at_step(3, 150));
    EXPECT_TRUE(happens([&] { return value(a.tracker->view().samples) == 250; }, 500ms));
}

TEST_P(Tracking, LossyDirectoryStillBringsEverybodyTogether) {
    sim::DirectorySettings lossy;
    lossy.push_loss = 0.3;
    lossy.read_loss = 0.3;
    sim::World world(GetParam(), {}, lossy);
    std::vector<Member> members;
    for (int i = 0; i < 8; ++i) {
        Member member{world.add_peer(), nullptr};
        member.tracker = make_progress_tracker(*member.peer.network, *member.peer.directory,
                                               *member.peer.clock, settings(), Log());
        world.simulation().run(member.tracker->start());
        member.tracker->report(at_step(i % 2, 10 * i));
        members.push_back(std::move(member));
    }
    const auto all_know = [&] {
        return std::all_of(members.begin(), members.end(),
                           [](const Member& m) { return m.tracker->view().peers == 8; });
    };
    EXPECT_TRUE(world.simulation().run_until(all_know, 10s));
    members.clear();
}

INSTANTIATE_TEST_SUITE_P(Seeds, Tracking, ::testing::Range<std::uint64_t>(1, 6));

}  // namespace
}  // namespace shoal::collective
