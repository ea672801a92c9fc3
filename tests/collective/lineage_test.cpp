#include "shoal/collective/lineage.h"

#include <algorithm>
#include <gtest/gtest.h>

#include "shoal/base/random.h"
#include "shoal/collective/companions.h"

namespace shoal::collective {
namespace {

/// Ascending with the number.
PeerId peer(int number) {
    std::array<std::uint8_t, 32> bytes{};
    bytes[6] = static_cast<std::uint8_t>(number >> 8);
    bytes[7] = static_cast<std::uint8_t>(number);
    return PeerId::from_bytes(bytes);
}

RoundId round_id(std::uint8_t number) {
    RoundId id{};
    id[0] = number;
    return id;
}

Join witness(int number, std::uint8_t round, const std::vector<int>& members) {
    Join join;
    join.peer = peer(number);
    Lineage lineage;
    lineage.round = round_id(round);
    for (const int member : members) lineage.members.push_back(peer(member));
    set_lineage(join, lineage);
    return join;
}

Join newcomer(int number) {
    Join join;
    join.peer = peer(number);
    join.newcomer = true;
    return join;
}

Join founder(int number) {
    Join join;
    join.peer = peer(number);
    return join;
}

std::vector<Join> witnesses(const std::vector<int>& present, const std::vector<int>& members) {
    std::vector<Join> joins;
    for (const int number : present) joins.push_back(witness(number, 1, members));
    return joins;
}

TEST(Lineage, NeedsAMajorityOfTheLastRoundOrTheHalfWithTheLowestPeer) {
    EXPECT_TRUE(may_go_on(witnesses({2, 3}, {1, 2, 3})));
    EXPECT_FALSE(may_go_on(witnesses({3}, {1, 2, 3})));
    EXPECT_TRUE(may_go_on(witnesses({1, 4}, {1, 2, 3, 4})));
    EXPECT_FALSE(may_go_on(witnesses({2, 3}, {1, 2, 3, 4})));
    EXPECT_TRUE(may_go_on(witnesses({1}, {1})));
}

TEST(Lineage, PeersThatRestartedOrArrivedCountForNothing) {
    std::vector<Join> group = witnesses({2}, {1, 2, 3});
    group.push_back(newcomer(1));  // a former member
    group.push_back(newcomer(7));
    group.push_back(newcomer(8));
    EXPECT_FALSE(may_go_on(group));
    group.push_back(witness(3, 1, {1, 2, 3}));
    EXPECT_TRUE(may_go_on(group));
}

TEST(Lineage, NewcomersAloneBeginNothing) {
    EXPECT_FALSE(may_go_on(std::vector<Join>{newcomer(1), newcomer(2)}));
    EXPECT_TRUE(may_go_on(std::vector<Join>{newcomer(1), founder(2)}));
    Join helper = founder(3);
    helper.role = Role::auxiliary;
    EXPECT_FALSE(may_go_on(std::vector<Join>{newcomer(1), helper}));
}

TEST(Lineage, WitnessesOfDifferentRoundsDoNotMix) {
    EXPECT_FALSE(may_go_on(std::vector<Join>{witness(1, 1, {1}), witness(2, 2, {2})}));
}

TEST(Lineage, LeaderLeavesOutThoseWhoseQuorumIsNotHere) {
    std::vector<Join> joins = witnesses({1, 2}, {1, 2, 3});
    joins.push_back(witness(5, 2, {5}));
    joins.push_back(newcomer(6));
    EXPECT_EQ(choose_group(joins), (std::vector<bool>{true, true, false, true}));
    // A newcomer leads whoever can go on, and nobody else.
    std::vector<Join> led{newcomer(6), witness(1, 1, {1, 2, 3}), witness(2, 1, {1, 2, 3}),
                          witness(5, 2, {5})};
    EXPECT_EQ(choose_group(led), (std::vector<bool>{true, true, true, false}));
    led.erase(led.begin() + 1);
    led.pop_back();
    EXPECT_EQ(choose_group(led), (std::vector<bool>{false, false}));
    // Somebody has not heard that 3 and 4 have left.
    const std::vector<Join> late{witness(1, 1, {1, 2}), witness(2, 1, {1, 2, 3, 4, 5})};
    EXPECT_EQ(choose_group(late), (std::vector<bool>{true, false}));
}

TEST(Lineage, TwoGroupsWithoutACommonPeerNeverBothGoOnWhoeverHasLeft) {
    Random random(1);
    int went_on = 0;
    for (int trial = 0; trial < 20000; ++trial) {
        const int size = 1 + static_cast<int>(random.below(8));
        std::vector<bool> has_left;
        for (int i = 0; i < size; ++i) has_left.push_back(random.below(4) == 0);
        std::vector<Join> sides[2];
        for (int i = 0; i < size; ++i) {
            if (has_left[static_cast<std::size_t>(i)]) continue;
            std::vector<int> believed;  // each has heard of some of the goodbyes
            for (int m = 0; m < size; ++m)
                if (!has_left[static_cast<std::size_t>(m)] || random.below(2) == 0) believed.push_back(m);
            const std::size_t side = random.below(3);
            if (side < 2) sides[side].push_back(witness(i, 1, believed));
        }
        const bool first = may_go_on(sides[0]), second = may_go_on(sides[1]);
        EXPECT_FALSE(first && second);
        went_on += first || second;
    }
    EXPECT_GT(went_on, 5000);
}

TEST(Companions, AreThoseOfTheLastAveragedRound) {
    const auto among = [](std::vector<int> numbers) {
        return [numbers](const PeerId& p) {
            return std::any_of(numbers.begin(), numbers.end(), [&](int n) { return peer(n) == p; });
        };
    };
    Companions companions;
    EXPECT_FALSE(companions.lineage(among({})).newcomer);
    EXPECT_TRUE(companions.are_quorate(among({}), among({})));
    Verdict verdict;
    verdict.round = round_id(3);
    for (const int number : {1, 2, 3, 4}) {
        Contributor member;
        member.peer = peer(number);
        if (number == 4) member.role = Role::auxiliary;
        verdict.contributors.push_back(member);
    }
    companions.averaged(verdict);
    EXPECT_TRUE(companions.are_quorate(among({1, 2}), among({})));
    EXPECT_FALSE(companions.are_quorate(among({2, 4}), among({})));
    EXPECT_TRUE(companions.are_quorate(among({2}), among({1, 3})));
    EXPECT_EQ(companions.lineage(among({3})).members, (std::vector<PeerId>{peer(1), peer(2)}));
    companions.arrive();
    EXPECT_TRUE(companions.lineage(among({})).newcomer);
    EXPECT_TRUE(companions.last().empty());
    companions.begin_anew();
    EXPECT_FALSE(companions.lineage(among({})).newcomer);
}

}  // namespace
}  // namespace shoal::collective
