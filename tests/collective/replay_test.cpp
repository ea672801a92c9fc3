// Peers that take the steps that they missed during a long download after the others, average by average.
#include "collective/mutating_network.h"
#include "collective/training_support.h"

#include <cstring>
#include <gtest/gtest.h>
#include <shoal/proto/state.pb.h>

#include "shoal/collective/average_transfer.h"
#include "shoal/net/rpc.h"
#include "shoal/sim/world.h"

namespace shoal::collective {
namespace {

using namespace std::chrono_literals;

std::vector<float> floats(std::size_t count, bool half) {
    std::vector<float> values(count);
    for (std::size_t i = 0; i < count; ++i)
        values[i] = (i % 2 == 0 ? -0.125F : 0.0625F) * static_cast<float>(i % 1000) + (half ? 0.0F : 1e-5F);
    return values;
}

std::vector<float> decoded(const KeptAverage& average, std::size_t count) {
    std::vector<float> values(count);
    decode_average(average.encoded, average.half, values);
    return values;
}

TEST(AverageHistory, KeepsSixteenOfTheLastSteps) {
    AverageHistory history;
    const std::vector<float> values = floats(10, true);
    for (int step = 5; step <= 30; ++step) history.add(Step{step}, values, false);
    EXPECT_EQ(history.find(Step{14}), nullptr);
    EXPECT_EQ(history.find(Step{31}), nullptr);
    for (int step = 15; step <= 30; ++step) {
        ASSERT_NE(history.find(Step{step}), nullptr) << step;
        EXPECT_EQ(history.find(Step{step})->from, Step{step});
    }
}

TEST(AverageHistory, KeepsNoMoreBytesThanItMay) {
    const std::vector<float> values = floats(1000, false);  // 4000 bytes
    AverageHistory history(12'000), tighter(11'999), none(3'999);
    for (int step = 0; step < 5; ++step) {
        history.add(Step{step}, values, false);
        tighter.add(Step{step}, values, false);
        none.add(Step{step}, values, false);
    }
    EXPECT_NE(history.find(Step{2}), nullptr);
    EXPECT_EQ(history.find(Step{1}), nullptr);
    EXPECT_NE(tighter.find(Step{3}), nullptr);
    EXPECT_EQ(tighter.find(Step{2}), nullptr);
    EXPECT_EQ(none.find(Step{4}), nullptr);
}

TEST(AverageHistory, DropsWhatDoesNotLeadToTheNewStep) {
    AverageHistory history;
    const std::vector<float> values = floats(10, true);
    history.add(Step{3}, values, false);
    history.add(Step{5}, values, false);
    EXPECT_EQ(history.find(Step{3}), nullptr);
    EXPECT_EQ(history.find(Step{4}), nullptr);
    EXPECT_NE(history.find(Step{5}), nullptr);
}

TEST(AverageHistory, KeepsEveryBitInHalfTheBytesWhereThatIsPossible) {
    for (const bool half : {true, false}) {
        AverageHistory history;
        std::vector<float> values = floats(10'000, half);
        values[9'999] = -0.0F;
        history.add(Step{1}, values, false);
        const KeptAveragePointer kept = history.find(Step{1});
        ASSERT_NE(kept, nullptr);
        EXPECT_EQ(kept->half, half);
        EXPECT_EQ(kept->encoded.size(), values.size() * (half ? 2 : 4));
        const std::vector<float> back = decoded(*kept, values.size());
        EXPECT_EQ(std::memcmp(back.data(), values.data(), 4 * values.size()), 0);
    }
}

class AverageTransfer : public ::testing::Test {
  protected:
    KeptAverage fetch(Step from, std::size_t elements) {
        return world_.simulation().run(
            fetch_average(*receiver_.network, *receiver_.clock, "test", donor_.id, from, elements, 20s));
    }
    ErrorKind failure_of(Step from, std::size_t elements) {
        try {
            fetch(from, elements);
        } catch (const Error& error) {
            return error.kind();
        }
        return ErrorKind::cancelled;  // which it is not
    }

    sim::World world_{1};
    sim::Peer donor_ = world_.add_peer(), receiver_ = world_.add_peer();
    std::shared_ptr<AverageHistory> history_ = std::make_shared<AverageHistory>();
};

TEST_F(AverageTransfer, BringsAveragesOfAnySize) {
    serve_averages(*donor_.network, *donor_.clock, "test", history_);
    constexpr std::size_t kOfPiece = kAveragePieceBytes / 4;
    int step = 0;
    for (const std::size_t elements : {std::size_t{1}, kOfPiece - 1, kOfPiece, kOfPiece + 1, 3 * kOfPiece}) {
        const std::vector<float> values = floats(elements, false);
        history_->add(Step{step}, values, false);
        const KeptAverage got = fetch(Step{step}, elements);
        EXPECT_FALSE(got.skipped);
        EXPECT_EQ(decoded(got, elements), values);
        ++step;
    }
    history_->add(Step{step}, {}, true);
    EXPECT_TRUE(fetch(Step{step}, kOfPiece).skipped);
    EXPECT_TRUE(fetch(Step{step}, kOfPiece).encoded.empty());
}

TEST_F(AverageTransfer, RefusesWhatIsNotKeptOrNotThere) {
    serve_averages(*donor_.network, *donor_.clock, "test", history_);
    history_->add(Step{7}, floats(1000, false), false);
    EXPECT_EQ(failure_of(Step{6}, 1000), ErrorKind::refused);
    EXPECT_EQ(failure_of(Step{8}, 1000), ErrorKind::refused);
    EXPECT_EQ(failure_of(Step{7}, 999), ErrorKind::protocol_violation);
    EXPECT_EQ(failure_of(Step{7}, 1001), ErrorKind::protocol_violation);
    history_->add(Step{8}, floats(1000, false), false);
    EXPECT_EQ(decoded(fetch(Step{8}, 1000), 1000), floats(1000, false));
    for (const std::uint64_t offset :
         {std::uint64_t{1}, std::uint64_t{kAveragePieceBytes}, ~std::uint64_t{0}}) {
        proto::AverageRequest request;
        request.set_from_step(8);
        request.set_offset(offset);
        net::Message message(net::to_control(request));
        EXPECT_THROW(
            world_.simulation().run(net::call(*receiver_.network, *receiver_.clock, donor_.id, "test/average",
                                              std::move(message), receiver_.clock->now() + 5s)),
            Error);
    }
    stop_serving_averages(*donor_.network, "test");
    EXPECT_EQ(failure_of(Step{8}, 1000), ErrorKind::refused);
}

TEST_F(AverageTransfer, IsGivenToOnePeerTwiceAndNotMoreOften) {
    serve_averages(*donor_.network, *donor_.clock, "test", history_);
    const std::size_t elements = kAveragePieceBytes;  // four pieces
    for (int step = 0; step < 2; ++step) {
        history_->add(Step{step}, floats(elements, false), false);
        for (std::size_t i = 0; i < kTimesOfOnePeer; ++i) fetch(Step{step}, elements);
        EXPECT_EQ(failure_of(Step{step}, elements), ErrorKind::refused);
    }
    const sim::Peer other = world_.add_peer();
    const KeptAverage got = world_.simulation().run(
        fetch_average(*other.network, *other.clock, "test", donor_.id, Step{0}, elements, 20s));
    EXPECT_EQ(decoded(got, elements), floats(elements, false));
}

awaitable<net::Message> answer_late(Clock& clock, std::size_t bytes) {
    co_await clock.sleep_for(10s);
    proto::AverageAnswer answer;
    co_return net::Message(net::to_control(answer), Bytes(bytes, 0));
}

TEST_F(AverageTransfer, WaitsNoLongerThanItMay) {
    Clock& clock = *donor_.clock;
    net::serve_calls(*donor_.network, clock, "test/average",
                     [&clock](PeerId, net::Message) { return answer_late(clock, kAveragePieceBytes); });
    const TimePoint begin = world_.simulation().clock().now();
    EXPECT_EQ(failure_of(Step{1}, kAveragePieceBytes), ErrorKind::timed_out);  // four pieces
    EXPECT_NEAR(seconds(world_.simulation().clock().now() - begin), 20.0, 0.1);
}

struct LongDownload {
    double rate;       ///< of the newcomer's line, bytes per second, both ways
    Duration of_step;  ///< of four peers
    std::string codec;
};

/// Half a megabyte of state takes longer than the swarm waits for anybody, and several steps.
struct LongDownloadSwarm : testing_support::Swarm {
    LongDownloadSwarm(std::uint64_t seed, const LongDownload& lines)
        : testing_support::Swarm(seed, 64, 1'000'000), lines_(lines) {
        settings.parameters = 62'500;
        settings.chunk_elements = 512;
        settings.state_chunk_bytes = 64 * 1024;
        settings.codec = lines.codec;
    }
    sim::NodeOptions usual() const {
        sim::NodeOptions options;
        options.samples = 4;
        options.time = lines_.of_step / 4;
        return options;
    }
    sim::NodePointer add_slow() {
        sim::NodeOptions slow = usual();
        slow.host.upload_rate = slow.host.download_rate = lines_.rate;
        return add(slow);
    }
    bool reaches(std::int64_t step) {
        return run_until([this, step] { return highest_step() >= step; }, 1h);
    }

  private:
    LongDownload lines_;
};

class NewcomerAfterALongDownload : public ::testing::TestWithParam<LongDownload> {};

TEST_P(NewcomerAfterALongDownload, TakesTheStepsAfterTheOthersAndTrains) {
    for (std::uint64_t seed = 1; seed <= 3; ++seed) {
        SCOPED_TRACE("seed " + std::to_string(seed));
        LongDownloadSwarm swarm(seed, GetParam());
        for (int i = 0; i < 4; ++i) swarm.add(swarm.usual());
        ASSERT_TRUE(swarm.reaches(10));
        const sim::NodePointer newcomer = swarm.add_slow();
        ASSERT_TRUE(swarm.run_until([&] { return newcomer->seen->steps.size() >= 5; }, 20min));
        EXPECT_LE(newcomer->seen->synchronised.size(), 3U);
        for (const sim::NodePointer& node : swarm.nodes) EXPECT_TRUE(node->seen->failures.empty());
        swarm.expect_identical();
    }
}

INSTANTIATE_TEST_SUITE_P(Lines, NewcomerAfterALongDownload,
                         ::testing::Values(LongDownload{15e3, 12s, "fp16"}, LongDownload{15e3, 20s, "fp32"},
                                           LongDownload{8e3, 20s, "fp16"}));

/// Its line carries an average more slowly than the swarm takes a step: it could be in no round in time.
TEST(NewcomerTooSlowForTheSwarm, IsNotWaitedForInVain) {
    std::int64_t reached[2] = {};
    for (const bool with : {false, true}) {
        LongDownloadSwarm swarm(1, LongDownload{12e3, 5s, "fp32"});
        for (int i = 0; i < 4; ++i) swarm.add(swarm.usual());
        ASSERT_TRUE(swarm.reaches(10));
        const sim::NodePointer slow = with ? swarm.add_slow() : nullptr;
        swarm.run_until([] { return false; }, 15min);
        if (with) {
            EXPECT_GE(slow->seen->synchronised.size(), 1U) << "it was there, and tried";
        }
        reached[with ? 1 : 0] = swarm.highest_step();
    }
    EXPECT_GE(reached[1], reached[0] - reached[0] / 50) << "half a minute in three is a sixth";
}

std::size_t lies_noticed(const sim::NodePointer& node) {
    std::size_t count = 0;
    for (const auto& [kind, text] : node->seen->troubles)
        count += text.find("leads to a state that others do not hold") != std::string::npos ? 1 : 0;
    return count;
}

TEST(Replay, DoubtsNoDonorBecauseOthersDie) {
    for (std::uint64_t seed = 1; seed <= 4; ++seed) {
        SCOPED_TRACE("seed " + std::to_string(seed));
        LongDownloadSwarm swarm(seed, LongDownload{15e3, 12s, "fp16"});
        for (int i = 0; i < 4; ++i) swarm.add(swarm.usual());
        ASSERT_TRUE(swarm.reaches(10));
        const sim::NodePointer newcomer = swarm.add_slow();
        const auto step = [&newcomer] { return value(newcomer->trainer->step()); };
        ASSERT_TRUE(swarm.run_until([&] { return step() > 0; }, 10min));
        const std::int64_t downloaded = step();
        ASSERT_TRUE(swarm.run_until([&] { return step() > downloaded; }, 10min));
        ASSERT_TRUE(newcomer->seen->steps.empty()) << "it takes the steps after the others";
        for (std::size_t i = 0; i < 3; ++i) swarm.crash(swarm.nodes[i]);
        ASSERT_TRUE(swarm.run_until([&] { return newcomer->seen->steps.size() >= 2; }, 60min));
        EXPECT_EQ(lies_noticed(newcomer), 0U);
        EXPECT_FALSE(newcomer->tracker->doubts(swarm.nodes[3]->peer.id));
        EXPECT_EQ(newcomer->failure, "");
    }
}

/// One of those that it asks lies.
void expect_no_lie_is_taken(const Mutation& lie, std::size_t& lies) {
    for (std::uint64_t seed = 1; seed <= 4; ++seed) {
        SCOPED_TRACE("seed " + std::to_string(seed));
        LongDownloadSwarm swarm(seed, LongDownload{15e3, 12s, "fp16"});
        for (int i = 0; i < 3; ++i) swarm.add(swarm.usual());
        sim::NodeOptions hostile = swarm.usual();
        hostile.between = [&lie](std::shared_ptr<net::Network> real) {
            return std::make_shared<MutatingNetwork>(std::move(real), lie);
        };
        swarm.add(hostile);
        ASSERT_TRUE(swarm.reaches(10));
        const sim::NodePointer newcomer = swarm.add_slow();
        ASSERT_TRUE(swarm.run_until([&] { return newcomer->seen->steps.size() >= 5; }, 60min));
        swarm.expect_identical();
        lies += lies_noticed(newcomer);
        EXPECT_LE(newcomer->seen->synchronised.size(), 3U) << "a lie costs one step, and not the download";
    }
}

TEST(LyingReplayDonor, ABitThatIsWrongIsNoticed) {
    const Mutation lie = [](const std::string& service, bool opened, net::Message& message) {
        if (service.ends_with("/average") && !opened && !message.payload.empty()) message.payload[10] ^= 1;
    };
    std::size_t lies = 0;
    expect_no_lie_is_taken(lie, lies);
    EXPECT_GE(lies, 1U);
}

TEST(LyingReplayDonor, AStepThatWasNotSkippedIsNoticed) {
    const Mutation lie = [](const std::string& service, bool opened, net::Message& message) {
        if (!service.ends_with("/average") || opened) return;
        proto::AverageAnswer answer;
        answer.set_skipped(true);
        message = net::Message(net::to_control(answer));
    };
    std::size_t lies = 0;
    expect_no_lie_is_taken(lie, lies);
    EXPECT_GE(lies, 1U);
}

}  // namespace
}  // namespace shoal::collective
