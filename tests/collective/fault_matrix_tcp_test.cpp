// The rows of the fault matrix with real processes: who fails is killed or stopped (SIGSTOP) in the middle of
// what it does, at a byte.
#include "collective/fault_matrix.h"
#include "collective/real_peers.h"

#include <gtest/gtest.h>

namespace shoal::collective::matrix {

namespace {

constexpr const char* kSurvivors = "234";

bool contains(const std::string& text, char c) {
    return text.find(c) != std::string::npos;
}

class RealFaultMatrix : public testing::TestWithParam<Row> {
  protected:
    void run() {
        swarm_.start(1, "01234");
        ASSERT_TRUE(swarm_.wait_until_over(1, "01234"));
        expect_averaged(1, "01234", "01234");
        harm(0, GetParam().first, "stop", 0.4);
        harm(1, GetParam().client, "kill", 0.6);
        swarm_.start(2, alive_);
        std::string finishing = kSurvivors;
        if (GetParam().first == Fault::none) finishing += '0';
        ASSERT_TRUE(swarm_.wait_until_over(2, finishing));
        for (const std::size_t i : {0u, 1u}) {
            if (armed_[i]) {
                EXPECT_TRUE(swarm_[i].struck()) << i << "\n" << swarm_.story();
            }
        }
        expect_averaged(2, finishing, kSurvivors);
        expect_right_causes();
        recover();
        expect_averaged(3, alive_, alive_);
    }

  private:
    /// Arms a fault of a peer, or lets it happen now.
    void harm(std::size_t peer, Fault fault, const std::string& act, double part) {
        const char name = static_cast<char>('0' + static_cast<int>(peer));
        const auto arm = [&](const std::string& at, const std::string& what) {
            const auto bytes = static_cast<std::uint64_t>(part * 4 * kElements);
            swarm_[peer].say(
                fmt::format("fault {} {} {} {}", at, bytes, what,
                            std::chrono::duration_cast<std::chrono::milliseconds>(kPause).count()));
            armed_[peer] = true;
            if (what == "kill") std::erase(alive_after_, name);
        };
        switch (fault) {
            case Fault::none:
                return;
            case Fault::before:
                swarm_[peer].kill();
                std::erase(alive_, name);
                std::erase(alive_after_, name);
                return;
            case Fault::sending:
                return arm("sending", act);
            case Fault::slow_sending:
                return arm("sending", "pause");
            case Fault::reducing:
                return arm(peer == 1 ? "taking" : "reducing", act);
            case Fault::slow_reducing:
                return arm("reducing", "pause");
            case Fault::cancelled:
                return arm("taking", "cancel");
        }
    }

    /// These have an average, of these peers at least, and not of the dead.
    void expect_averaged(std::int64_t step, const std::string& who, const std::string& of) {
        swarm_.expect_one_verdict(step);
        for (const char peer : who) {
            const RealVerdict* verdict = swarm_[static_cast<std::size_t>(peer - '0')].last(step);
            ASSERT_NE(verdict, nullptr) << peer << "\n" << swarm_.story();
            EXPECT_EQ(verdict->outcome, "averaged") << peer << "\n" << swarm_.story();
            for (const char member : of) EXPECT_TRUE(contains(verdict->members, member)) << swarm_.story();
            for (const char member : std::string("01"))
                if (!contains(step == 1 ? "01" : alive_after_, member)) {
                    EXPECT_FALSE(contains(verdict->members, member)) << swarm_.story();
                }
        }
    }

    void expect_right_causes() {
        for (std::size_t i = 0; i < kPeers; ++i)
            for (const RealVerdict& verdict : swarm_[i].verdicts()) {
                if (verdict.outcome != "failed") continue;
                EXPECT_FALSE(verdict.lost.empty()) << verdict.cause;
                for (const char peer : verdict.lost) {
                    const Fault fault = peer == '0' ? GetParam().first : GetParam().client;
                    EXPECT_TRUE(peer < '2' && fault != Fault::none) << swarm_.story();
                    const PeerId id = test_key(static_cast<std::size_t>(peer - '0')).peer_id();
                    if (verdict.lost.size() == 1) {
                        EXPECT_NE(verdict.cause.find(id.short_name()), std::string::npos) << verdict.cause;
                    }
                }
            }
    }

    /// Who was stopped wakes up and learns how it ended; all that live average the next step.
    void recover() {
        alive_ = alive_after_;
        swarm_[0].signal(SIGCONT);
        swarm_.tell_past(2, alive_);
        ASSERT_TRUE(swarm_.wait_until_over(2, alive_));
        swarm_.expect_one_verdict(2);
        for (const char peer : alive_)
            swarm_[static_cast<std::size_t>(peer - '0')].say("fault none 0 none 0");
        swarm_.start(3, alive_);
        ASSERT_TRUE(swarm_.wait_until_over(3, alive_));
    }

    RealSwarm swarm_{{"full", "client", "full", "full", "full"}, kElements, false};
    std::string alive_ = "01234", alive_after_ = "01234";
    std::array<bool, 2> armed_{};
};

TEST_P(RealFaultMatrix, leaves_the_survivors_with_the_average_of_those_it_names_and_the_next_round_works) {
    run();
}

INSTANTIATE_TEST_SUITE_P(, RealFaultMatrix, testing::ValuesIn(kRows),
                         [](const auto& row) { return std::string(row.param.name); });

}  // namespace
}  // namespace shoal::collective::matrix
