// What a peer tells those that may wait for it in a group which it has left, and what strangers may say
// there.
#include "shoal/collective/farewell.h"

#include <gtest/gtest.h>

#include "shoal/base/error.h"
#include "shoal/sim/world.h"

namespace shoal::collective {
namespace {

using namespace std::chrono_literals;

Bytes words_at(std::int64_t step, std::uint64_t sequence = 1) {
    ProgressRecord record;
    record.progress.step = static_cast<Step>(step);
    record.progress.training = true;
    record.sequence = sequence;
    return encode_progress(record);
}

/// Sends one message, which may be anything, and tells how the stream ended: "" if in order.
awaitable<std::string> send(net::Network& network, PeerId peer, Bytes words) {
    std::string service = "run/groups";
    const net::StreamPointer stream = co_await network.open(peer, std::move(service));
    if (!words.empty()) co_await stream->write(words, ByteView());
    if (!words.empty()) stream->finish();
    std::string end;
    try {
        bool more = true;
        while (more) {
            const std::optional<net::Message> message = co_await stream->read();
            more = message.has_value();
        }
    } catch (const Error& error) {
        end = error.what();
    }
    co_return end;
}

class Farewells : public ::testing::Test {
  protected:
    Farewells() {
        here = std::make_shared<Farewell>(*a.network, *a.clock, "run", Log());
        there = std::make_shared<Farewell>(*b.network, *b.clock, "run", Log());
        here->start([](const ProgressRecord&) {});
        there->start([this](const ProgressRecord& words) { heard.push_back(words); });
    }
    ~Farewells() override {
        here->end();
        there->end();
    }

    void connect() {
        awaitable<std::string> sending = send(*a.network, b.id, words_at(1));
        (void)world.simulation().run(std::move(sending));
        heard.clear();
    }

    std::string say(Bytes words) {
        awaitable<std::string> sending = send(*a.network, b.id, std::move(words));
        return world.simulation().run(std::move(sending));
    }

    sim::World world{3};
    sim::Peer a = world.add_peer(), b = world.add_peer();
    std::shared_ptr<Farewell> here, there;
    std::vector<ProgressRecord> heard;
};

TEST_F(Farewells, AreHeardByWhoeverIsConnected) {
    EXPECT_FALSE(here->tell(b.id, Step{7}, words_at(8))) << "there is no connection, and none is made";
    world.simulation().run_for(1s);
    EXPECT_TRUE(heard.empty());
    connect();
    EXPECT_TRUE(here->tell(b.id, Step{7}, words_at(8)));
    world.simulation().run_for(1s);
    ASSERT_EQ(heard.size(), 1U);
    EXPECT_EQ(heard[0].progress.peer, a.id);
    EXPECT_EQ(heard[0].progress.step, Step{8});
}

TEST_F(Farewells, AreSaidAgainForSixSteps) {
    connect();
    here->tell(b.id, Step{10}, words_at(11));
    for (std::int64_t step = 12; step < 20; ++step) {
        here->tell_again(static_cast<Step>(step), words_at(step));
        world.simulation().run_for(1s);
    }
    ASSERT_EQ(heard.size(), 6U);  // 11, and 12 to 16
    EXPECT_EQ(heard.back().progress.step, Step{16});
}

TEST_F(Farewells, AreSaidNoMoreToWhomHasGoneOnItself) {
    connect();
    here->tell(b.id, Step{10}, words_at(11));
    world.simulation().run_for(1s);
    there->tell(a.id, Step{10}, words_at(11));
    world.simulation().run_for(1s);
    heard.clear();
    here->tell_again(Step{12}, words_at(12));
    world.simulation().run_for(1s);
    EXPECT_TRUE(heard.empty());
}

TEST_F(Farewells, WhatIsNoRecordIsDroppedAndTheNextIsHeard) {
    (void)say(to_bytes("no protobuf at all \xff\xff"));
    (void)say(Bytes(200, 0xff));
    EXPECT_TRUE(heard.empty());
    (void)say(words_at(5));
    EXPECT_EQ(heard.size(), 1U);
}

TEST_F(Farewells, WhoOpensAStreamAndSaysNothingIsCutOffAfterTenSeconds) {
    const TimePoint begin = a.clock->now();
    EXPECT_NE(say(Bytes()), "");
    EXPECT_GE(a.clock->now() - begin, 10s);
    EXPECT_LT(a.clock->now() - begin, 11s);
}

TEST_F(Farewells, OfAFloodTwentyAtOnceAreHeardAndThenTwoHundredASecond) {
    connect();  // one of the twenty is used up
    world.simulation().run_for(10s);
    const TimePoint begin = a.clock->now();
    for (std::uint64_t i = 0; i < 2000; ++i) (void)say(words_at(5, i));
    const double took = seconds(a.clock->now() - begin);
    EXPECT_LE(static_cast<double>(heard.size()), RecordPace::kAtOnce + RecordPace::kPerSecond * took + 1);
    EXPECT_GE(heard.size(), std::size_t{RecordPace::kAtOnce});
    EXPECT_LT(heard.size(), 2000U);
}

TEST_F(Farewells, AreNotHeardAfterTheEnd) {
    there->end();
    EXPECT_NE(say(words_at(5)), "");
    EXPECT_TRUE(heard.empty());
}

}  // namespace
}  // namespace shoal::collective
