// Every kind of fault in every phase of a round, with real processes: a line breaks, falls silent, crawls or
// carries garbage (middleman.h) while the peer behind it stands exactly where the phase begins.
#include "collective/real_peers.h"

#include <gtest/gtest.h>
#include <ostream>

namespace shoal::collective {
namespace {

constexpr std::array kPhases = {"match", "send", "reduce", "vote"};
constexpr std::size_t kVectorElements = 60'000, kVictim = 0;
constexpr int kMostTries = 8;  ///< until the swarm is whole again

/// What happens to the victim, or to its line with another peer.
struct Kind {
    const char* name;
    const char* act;  ///< of the victim itself (fault_peer.cpp)
    std::function<void(RealSwarm&, std::size_t other)> line = {};
};

using Way = Middleman::Way;

const std::vector<Kind>& kinds() {
    static const std::vector<Kind> all = {
        {"kill", "kill"},
        {"freeze", "stop"},
        {"half_open", "stop",
         [](RealSwarm& swarm, std::size_t other) {
             swarm.on_way(other, kVictim, [](Middleman& line, Way way) { line.half_close(way); });
         }},
        {"silent_one_way", "stop",
         [](RealSwarm& swarm, std::size_t other) {
             swarm.on_way(kVictim, other, [](Middleman& line, Way way) { line.hold(way); });
         }},
        {"cut", "stop",
         [](RealSwarm& swarm, std::size_t other) {
             swarm.on_way(kVictim, other, [](Middleman& line, Way) { line.cut(); });
         }},
        {"partition", "stop",
         [](RealSwarm& swarm, std::size_t other) {
             swarm.on_way(kVictim, other, [](Middleman& line, Way way) { line.hold(way); });
             swarm.on_way(other, kVictim, [](Middleman& line, Way way) { line.hold(way); });
         }},
        {"garbage", "stop",
         [](RealSwarm& swarm, std::size_t other) {
             swarm.on_way(kVictim, other, [](Middleman& line, Way way) { line.spoil(way); });
         }},
        {"slow_line", "stop",
         [](RealSwarm& swarm, std::size_t other) {
             swarm.on_way(kVictim, other, [](Middleman& line, Way) { line.set_rate(200e3); });
         }},
        {"clock_jump", "jump"},
    };
    return all;
}

class RealFaultKinds : public testing::TestWithParam<std::tuple<std::size_t, const char*>> {
  protected:
    void run() {
        step_ = 1;
        swarm_.start(step_, alive_);
        ASSERT_TRUE(swarm_.wait_until_over(step_, alive_));
        swarm_.expect_one_verdict(step_);
        harm();
        if (HasFailure()) return;
        expect_agreement();
        heal();
        if (HasFailure()) return;
        expect_whole_again();
    }

  private:
    std::string act() const { return kind_.act; }

    void harm() {
        constexpr int kJump = 3'600'000;  // ms: an hour
        swarm_[kVictim].say(fmt::format("fault {} 0 {} {}", std::get<1>(GetParam()), act(), kJump));
        swarm_.start(++step_, alive_);
        if (act() == "kill") std::erase(alive_, '0');
        if (act() == "stop") {
            ASSERT_TRUE(swarm_.wait_until_stopped(kVictim));
            for (std::size_t other = 1; kind_.line && other < swarm_.size(); ++other)
                kind_.line(swarm_, other);
            if (kind_.line) swarm_[kVictim].signal(SIGCONT);
        }
        ASSERT_TRUE(swarm_.wait_until_over(step_, "1234"));
        ASSERT_TRUE(swarm_[kVictim].struck());
    }

    /// The others are the most, and have the average. The client may lose the only one that it could ask.
    void expect_agreement() {
        swarm_.expect_one_verdict(step_);
        for (const std::size_t peer : {2u, 3u, 4u}) {
            const RealVerdict* verdict = swarm_[peer].last(step_);
            ASSERT_NE(verdict, nullptr) << swarm_.story();
            EXPECT_EQ(verdict->outcome, "averaged") << swarm_.story();
        }
        for (std::size_t peer = 0; peer < swarm_.size(); ++peer)
            for (const RealVerdict& verdict : swarm_[peer].verdicts())
                if (verdict.outcome != "averaged") {
                    EXPECT_FALSE(verdict.cause.empty());
                }
    }

    void heal() {
        for (std::size_t other = 1; other < swarm_.size(); ++other)
            swarm_.on_way(kVictim, other, [](Middleman& line, Way) {
                line.release();
                line.set_rate(0);
            });
        if (act() == "stop") swarm_[kVictim].signal(SIGCONT);
        swarm_.tell_past(step_, alive_);
        ASSERT_TRUE(swarm_.wait_until_over(step_, alive_));
        swarm_.expect_one_verdict(step_);
        if (act() != "jump") return;
        // It believes in another hour, and nothing has come of it.
        const RealVerdict* verdict = swarm_[kVictim].last(step_);
        ASSERT_NE(verdict, nullptr);
        EXPECT_EQ(verdict->outcome, "averaged") << swarm_.story();
        EXPECT_EQ(verdict->members, alive_);
        EXPECT_NEAR(static_cast<double>(verdict->wall_seconds - swarm_[2].last(step_)->wall_seconds), 3600,
                    600);
    }

    /// Each next round is averaged by most; who has just lost its connections may miss one.
    void expect_whole_again() {
        for (int tries = 0; tries < kMostTries; ++tries) {
            swarm_.start(++step_, alive_);
            ASSERT_TRUE(swarm_.wait_until_over(step_, alive_));
            swarm_.expect_one_verdict(step_);
            std::size_t averaged = 0;
            const RealVerdict* whole = nullptr;
            for (const char peer : alive_) {
                const RealVerdict* verdict = swarm_[static_cast<std::size_t>(peer - '0')].last(step_);
                ASSERT_NE(verdict, nullptr) << swarm_.story();
                averaged += verdict->outcome == "averaged" ? 1 : 0;
                if (verdict->members == alive_ && verdict->outcome == "averaged") whole = verdict;
            }
            EXPECT_GE(averaged, 3U) << swarm_.story();
            if (HasFailure() || whole != nullptr) return;
        }
        ADD_FAILURE() << "the swarm is not whole again\n" << swarm_.story();
    }

    const Kind& kind_ = kinds()[std::get<0>(GetParam())];
    RealSwarm swarm_{{"full", "client", "full", "full", "full"}, kVectorElements, true};
    std::string alive_ = "01234";
    std::int64_t step_ = 0;
};

TEST_P(RealFaultKinds, end_the_round_alike_for_all_and_the_swarm_becomes_whole) {
    run();
}

INSTANTIATE_TEST_SUITE_P(, RealFaultKinds,
                         testing::Combine(testing::Range<std::size_t>(0, kinds().size()),
                                          testing::ValuesIn(kPhases)),
                         [](const auto& chosen) {
                             return std::string(kinds()[std::get<0>(chosen.param)].name) + "_in_" +
                                    std::get<1>(chosen.param);
                         });

}  // namespace
}  // namespace shoal::collective
