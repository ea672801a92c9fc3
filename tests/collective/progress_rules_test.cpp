// How records of others are judged, without network or coroutines.
#include "collective/records_support.h"

#include <gtest/gtest.h>
#include <limits>

#include "shoal/collective/companions.h"
#include "shoal/collective/progress_book.h"
#include "shoal/collective/swarm_rules.h"

namespace shoal::collective {
namespace {

using namespace std::chrono_literals;
using namespace testing_support;

SwarmView judge(std::vector<Progress> live, const Progress& own, std::vector<PeerId> companions = {}) {
    live.push_back(own);
    std::sort(live.begin(), live.end(), [](const auto& a, const auto& b) { return a.peer < b.peer; });
    return judge_swarm(live, own, static_cast<Samples>(1000), companions,
                       [](const PeerId&) { return false; });
}

std::int64_t step_seen(std::vector<Progress> live, const Progress& own, std::vector<PeerId> companions = {}) {
    return value(judge(std::move(live), own, std::move(companions)).step);
}

TEST(SwarmStep, OfALonePeerIsItsOwn) {
    EXPECT_EQ(step_seen({}, trainer(1, 5)), 5);
}

TEST(SwarmStep, OfATrainerFollowsNoSinglePeerHoweverLittleItClaims) {
    EXPECT_EQ(step_seen({trainer(2, 6)}, trainer(1, 5)), 5);
    EXPECT_EQ(step_seen({trainer(2, 6)}, trainer(1, 5), {peer(1), peer(2)}), 5);
    EXPECT_EQ(step_seen({trainer(2, 6), trainer(3, 6)}, trainer(1, 5)), 6);
}

TEST(SwarmStep, OfATrainerIsWhatAQuorumOfItsLastRoundHasReached) {
    const std::vector<PeerId> round{peer(1), peer(2), peer(3), peer(4)};
    // Many newcomers hold the old state; they took part in nothing.
    const std::vector<Progress> newer{trainer(5, 5), trainer(6, 5), trainer(7, 5)};
    const auto seen = [&](std::vector<Progress> live, int self) {
        live.insert(live.end(), newer.begin(), newer.end());
        return step_seen(std::move(live), trainer(self, 5), round);
    };
    EXPECT_EQ(seen({trainer(1, 6), trainer(2, 7), trainer(3, 5)}, 4), 6);  // half, with the lowest
    EXPECT_EQ(seen({trainer(2, 6), trainer(3, 6), trainer(4, 5)}, 1), 5);  // half, without it
    EXPECT_EQ(seen({trainer(2, 6), trainer(3, 6), trainer(4, 7)}, 1), 6);
}

TEST(Rival, IsWhatContradictsATrainerWithoutCompany) {
    const auto rival = [](std::vector<Progress> live, const Progress& own, std::vector<PeerId> round = {}) {
        const SwarmView view = judge(std::move(live), own, std::move(round));
        return view.rival ? value(view.rival->step) : -1;
    };
    EXPECT_EQ(rival({trainer(2, 6)}, trainer(1, 5)), 6);
    EXPECT_EQ(rival({trainer(2, 4)}, trainer(1, 5)), -1);
    EXPECT_EQ(rival({trainer(2, 6)}, newcomer(1, 5)), -1);
    EXPECT_EQ(rival({trainer(2, 6), trainer(3, 5)}, trainer(1, 5)), -1);  // 3 is company
    EXPECT_EQ(rival({trainer(2, 6), trainer(3, 4)}, trainer(1, 5)), -1);  // and so is who comes after us
    // But of a round of two, the lowest may have gone on alone.
    EXPECT_EQ(rival({trainer(1, 6), trainer(3, 5)}, trainer(2, 5), {peer(1), peer(2)}), 6);
    EXPECT_EQ(rival({trainer(2, 6), trainer(3, 5)}, trainer(1, 5), {peer(1), peer(2)}), -1);
    Progress other = trainer(2, 5);
    other.digest = {99, 0};
    EXPECT_EQ(rival({other}, trainer(1, 5)), -1);  // it is the other that has to look
    EXPECT_EQ(rival({other}, trainer(3, 5)), 5);
}

TEST(SwarmStep, IsNotMovedByALoneLiar) {
    constexpr std::int64_t kLie = 1'000'000'000;
    EXPECT_EQ(step_seen({trainer(9, kLie)}, trainer(1, 5)), 5);
    EXPECT_EQ(step_seen({trainer(2, 5), trainer(9, kLie)}, trainer(1, 5)), 5);
    EXPECT_EQ(step_seen({trainer(2, 5), trainer(3, 6), trainer(4, 5), trainer(9, kLie)}, trainer(1, 5)), 5);
    EXPECT_EQ(step_seen({trainer(2, 5), trainer(3, 6), trainer(4, 6), trainer(9, kLie)}, trainer(1, 5)), 6);
    // Nor a newcomer when the crowd disagrees.
    EXPECT_EQ(step_seen({trainer(2, 500), trainer(3, 500), trainer(9, kLie)}, newcomer(1, 0)), 500);
    EXPECT_EQ(
        step_seen({trainer(2, 500), trainer(3, 500), trainer(4, 501), trainer(9, kLie)}, newcomer(1, 0)),
        501);
    EXPECT_EQ(step_seen({trainer(2, 500), trainer(9, kLie)}, newcomer(1, 0)), 500);
}

TEST(SwarmStep, OfANewcomerIsThatOfTheCrowd) {
    EXPECT_EQ(step_seen({trainer(2, 500)}, newcomer(1, 0)), 500);
    EXPECT_EQ(step_seen({trainer(2, 500), trainer(3, 501), trainer(4, 501)}, newcomer(1, 0)), 501);
    // Those that download say little about the swarm.
    EXPECT_EQ(step_seen({trainer(2, 500), newcomer(3, 0), newcomer(4, 0), newcomer(5, 0)}, newcomer(1, 0)),
              500);
}

TEST(SwarmStep, WhenAWholeRunResumesIsWhatMostHold) {
    EXPECT_EQ(step_seen({newcomer(2, 100), newcomer(3, 100)}, newcomer(1, 90)), 100);
    EXPECT_EQ(step_seen({newcomer(2, 90), newcomer(3, 100)}, newcomer(1, 90)), 90);
}

TEST(SwarmStep, OfTwoEqualHalvesIsTheHigherOneButOnlyWhereAHalfIsMoreThanOnePeer) {
    EXPECT_EQ(step_seen({trainer(2, 7), trainer(3, 50), trainer(4, 50)}, trainer(1, 7)), 50);
    EXPECT_EQ(step_seen({trainer(2, 50)}, trainer(1, 7)), 7);
}

TEST(SwarmStep, IsNotMovedByPeersInDoubtUnlessTheCrowdAgrees) {
    const Progress own = trainer(1, 5);
    const auto doubt_two = [](const PeerId& p) { return p == peer(2); };
    std::vector<Progress> live{own, trainer(2, 6), trainer(3, 6)};
    EXPECT_EQ(value(judge_swarm(live, own, Samples{100}, {}, doubt_two).step), 5);
    live.push_back(trainer(4, 6));
    EXPECT_EQ(value(judge_swarm(live, own, Samples{100}, {}, doubt_two).step), 6);
}

TEST(SwarmStep, IgnoresAuxiliaryPeers) {
    Progress helper = trainer(2, 7);
    helper.role = Role::auxiliary;
    EXPECT_EQ(step_seen({helper}, trainer(1, 5)), 5);
}

TEST(SwarmView, AddsUpTheSamplesOfThoseAtItsStep) {
    Progress downloading = trainer(4, 5, 999);
    downloading.training = false;
    const SwarmView view = judge({trainer(2, 5, 200), trainer(3, 4, 400), downloading}, trainer(1, 5, 100));
    EXPECT_EQ(value(view.samples), 300);
    EXPECT_EQ(view.peers, 4U);
    EXPECT_EQ(view.training_peers, 3U);
    EXPECT_DOUBLE_EQ(view.samples_per_second, 300);
    EXPECT_NEAR(seconds(view.eta), 700.0 / 300.0, 1e-6);
}

TEST(SwarmView, NamesTheStateOfMostAndOfTheLowestPeerOnATie) {
    Progress two = trainer(2, 6), three = trainer(3, 6), four = trainer(4, 6);
    two.digest = three.digest = {42, 0};
    four.digest = {41, 0};
    EXPECT_EQ(judge({two, three, four}, newcomer(1, 0)).digest, two.digest);
    EXPECT_EQ(judge({three, four}, newcomer(1, 0)).digest, three.digest);
}

TEST(SwarmView, OfATrainerNamesAnotherStateOnlyIfSeveralThatAreMostHoldIt) {
    const auto with_digest = [](int n, std::uint64_t digest) {
        Progress progress = trainer(n, 5);
        progress.digest = {digest, 0};
        return progress;
    };
    const auto named = [](std::vector<Progress> live, const Progress& own, std::vector<PeerId> round = {}) {
        return judge(std::move(live), own, std::move(round)).digest.low;
    };
    const Progress own = with_digest(4, 41);
    EXPECT_EQ(named({with_digest(2, 42)}, own), 41U);
    EXPECT_EQ(named({with_digest(2, 42), with_digest(3, 42)}, own), 42U);
    EXPECT_EQ(named({with_digest(1, 42), with_digest(2, 42), with_digest(5, 41)}, own), 42U);  // half, lowest
    EXPECT_EQ(named({with_digest(5, 42), with_digest(6, 42), with_digest(7, 41)}, own), 41U);
    // Two of six, the others being a step behind.
    const std::vector<Progress> two{trainer(1, 4), with_digest(2, 42), with_digest(3, 42), trainer(5, 4),
                                    trainer(6, 4)};
    EXPECT_EQ(named(two, own), 41U);
    EXPECT_EQ(named(two, own, {peer(2), peer(3), peer(4)}), 42U);
}

TEST(BatchIsFull, AtTheTargetAndNotOneSampleBefore) {
    const auto full = [](std::int64_t samples) {
        const std::vector<Progress> live{trainer(1, 5, samples), trainer(2, 5, 500)};
        const SwarmView view =
            judge_swarm(live, live[0], Samples{1000}, {}, [](const PeerId&) { return false; });
        return judge_batch_full(view, live, live[0], Samples{1000});
    };
    EXPECT_FALSE(full(499));
    EXPECT_TRUE(full(500));
}

TEST(BatchIsFull, WhenMoreThanHalfOfTheOthersWait) {
    std::vector<Progress> live{trainer(1, 5), trainer(2, 5), trainer(3, 5)};
    const auto full = [&] {
        const SwarmView view =
            judge_swarm(live, live[0], Samples{1000}, {}, [](const PeerId&) { return false; });
        return judge_batch_full(view, live, live[0], Samples{1000});
    };
    EXPECT_FALSE(full());
    live[1].waiting = true;
    EXPECT_FALSE(full());
    live[2].waiting = true;
    EXPECT_TRUE(full());
}

TEST(BatchIsFull, ForAClientWhenMostWaitOfThoseThatItHears) {
    std::vector<Progress> live{trainer(1, 5), trainer(2, 5), trainer(3, 5), trainer(4, 5), trainer(5, 5)};
    for (const std::size_t client : {0U, 3U, 4U}) live[client].role = Role::client;
    const auto full = [&] {
        const SwarmView view =
            judge_swarm(live, live[0], Samples{1000}, {}, [](const PeerId&) { return false; });
        return judge_batch_full(view, live, live[0], Samples{1000});
    };
    live[3].waiting = live[4].waiting = true;
    EXPECT_FALSE(full());
    live[1].waiting = true;
    EXPECT_FALSE(full()) << "half of the two that are no clients";
    live[2].waiting = true;
    live[3].waiting = live[4].waiting = false;
    EXPECT_TRUE(full());
    live[0].role = Role::full;  // which hears everybody
    EXPECT_FALSE(full());
}

TEST(PlausibleSamples, AreLimitedByTheTargetAndByTheClaimedSpeed) {
    constexpr double kUnknown = std::numeric_limits<double>::infinity();
    EXPECT_EQ(value(plausible_samples(trainer(1, 5, 900), kUnknown, Samples{1000})), 900);
    EXPECT_EQ(value(plausible_samples(trainer(1, 5, 5000), kUnknown, Samples{1000})), 1000);
    // 100 samples a second for (0.5 + 1 + 1) s, with a factor of 4.
    EXPECT_EQ(value(plausible_samples(trainer(1, 5, 5000), 0.5, Samples{10000})), 1000);
    Progress silent = trainer(1, 5, 300);
    silent.samples_per_second = 0;
    EXPECT_EQ(value(plausible_samples(silent, 3, Samples{1000})), 0);
}

TEST(Quorum, IsAMajorityOrTheHalfWithTheLowestPeer) {
    const std::vector<PeerId> members{peer(1), peer(2), peer(3), peer(4)};
    const auto of = [&](std::vector<int> there) {
        return is_quorum(members, [&](const PeerId& p) {
            return std::any_of(there.begin(), there.end(), [&](int n) { return peer(n) == p; });
        });
    };
    EXPECT_TRUE(of({2, 3, 4}));
    EXPECT_TRUE(of({1, 4}));
    EXPECT_FALSE(of({3, 4}));
    EXPECT_FALSE(of({1}));
    EXPECT_TRUE(is_quorum({}, [](const PeerId&) { return false; }));
}

TEST(Contradiction, IsTheStateOfTheLargestCampAndOfTheFurthestOfEqualOnes) {
    const auto seen = [](std::vector<Progress> live, const Progress& own) {
        const SwarmView view = judge(std::move(live), own);
        return view.contradiction ? value(view.contradiction->step) : -1;
    };
    const std::vector<Progress> company{trainer(5, 5), trainer(6, 5), trainer(7, 5), trainer(8, 5)};
    const auto in_company = [&](std::vector<Progress> live) {
        live.insert(live.end(), company.begin(), company.end());
        EXPECT_FALSE(judge(live, trainer(4, 5)).rival);
        return seen(std::move(live), trainer(4, 5));
    };
    EXPECT_EQ(in_company({}), -1);
    EXPECT_EQ(in_company({trainer(1, 4)}), -1);
    EXPECT_EQ(in_company({trainer(1, 6)}), 6);
    EXPECT_EQ(in_company({trainer(1, 6), trainer(2, 9)}), 9);
    EXPECT_EQ(in_company({trainer(1, 6), trainer(2, 6), trainer(3, 1'000'000)}), 6);
    Progress other = trainer(1, 5);
    other.digest = {99, 0};
    EXPECT_EQ(in_company({other}), -1);  // fewer than we are
}

}  // namespace
}  // namespace shoal::collective
