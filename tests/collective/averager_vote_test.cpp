// Paxos under random schedules: messages are lost, doubled, reordered and delayed; members fall silent for a
// while.
#include <gtest/gtest.h>
#include <set>

#include "shoal/base/random.h"
#include "shoal/collective/blame.h"
#include "shoal/collective/vote.h"

namespace shoal::collective {
namespace {

VoteValue failed(std::uint32_t by) {
    VoteValue value;
    value.cause = "proposed by " + std::to_string(by);
    value.lost = {by};
    return value;
}

VoteValue averaged() {
    VoteValue value;
    value.averaged = true;
    value.digest = {1, 2};
    return value;
}

/// A cast of members and the messages between them.
struct Stage {
    Stage(std::uint32_t members, std::uint32_t leader_index) : leader(leader_index) {
        for (std::uint32_t i = 0; i < members; ++i) machines.emplace_back(members, i, leader);
    }
    struct Letter {
        std::uint32_t from, to;
        VoteMessage message;
    };
    void post(std::uint32_t from, const std::vector<VoteOutgoing>& messages) {
        for (const VoteOutgoing& m : messages) letters.push_back({from, m.to, m.message});
    }
    void deliver(std::size_t index, bool keep) {
        const Letter letter = letters[index];
        if (!keep) letters.erase(letters.begin() + static_cast<std::ptrdiff_t>(index));
        post(letter.to, machines[letter.to].receive(letter.from, letter.message));
    }
    void deliver_all() {
        while (!letters.empty()) deliver(0, false);
    }
    std::uint32_t leader;
    std::vector<VoteMachine> machines;
    std::vector<Letter> letters;
};

TEST(AveragerVote, the_leader_decides_in_one_exchange) {
    Stage stage(5, 2);
    stage.post(2, stage.machines[2].propose(averaged()));
    EXPECT_EQ(stage.letters.size(), 4u);
    stage.deliver_all();
    for (const VoteMachine& machine : stage.machines) EXPECT_EQ(machine.decision(), averaged());
}

TEST(AveragerVote, one_member_decides_alone) {
    Stage stage(1, 0);
    stage.post(0, stage.machines[0].propose(averaged()));
    EXPECT_EQ(stage.machines[0].decision(), averaged());
}

TEST(AveragerVote, of_two_members_the_lowest_decides_alone) {
    Stage stage(2, 1);
    stage.post(0, stage.machines[0].propose(failed(1)));
    EXPECT_TRUE(stage.machines[0].decision());
    Stage other(2, 1);
    other.post(1, other.machines[1].propose(failed(0)));
    EXPECT_FALSE(other.machines[1].decision());
}

TEST(AveragerVote, what_a_quorum_accepted_survives_its_proposer) {
    Stage stage(5, 0);
    stage.post(0, stage.machines[0].propose(averaged()));
    // Two others accept, and the leader falls silent before anybody hears of it.
    for (const std::uint32_t member : {1u, 2u}) {
        VoteMessage accept = stage.letters[0].message;
        stage.machines[member].receive(0, accept);
    }
    stage.letters.clear();
    stage.post(3, stage.machines[3].propose(failed(0)));
    while (!stage.letters.empty()) {
        if (stage.letters[0].to == 0 || stage.letters[0].from == 0)
            stage.letters.erase(stage.letters.begin());
        else
            stage.deliver(0, false);
    }
    for (std::uint32_t i = 1; i < 5; ++i) EXPECT_EQ(stage.machines[i].decision(), averaged()) << i;
}

TEST(AveragerVote, quorums_are_majorities_or_the_half_with_the_lowest) {
    EXPECT_TRUE(VoteMachine::is_quorum({true, true, false, false}));
    EXPECT_FALSE(VoteMachine::is_quorum({false, true, true, false}));
    EXPECT_TRUE(VoteMachine::is_quorum({false, true, true, true}));
    EXPECT_FALSE(VoteMachine::is_quorum({true, false, false, false}));
    EXPECT_TRUE(VoteMachine::is_quorum({true}));
    EXPECT_FALSE(VoteMachine::is_quorum({}));
}

TEST(AveragerVote, ballots_of_others_are_ignored) {
    Stage stage(3, 0);
    VoteMessage forged;
    forged.kind = VoteMessage::Kind::accept;
    forged.value = failed(1);
    forged.ballot = {0, 1};  // the first ballot is the leader's
    EXPECT_TRUE(stage.machines[2].receive(1, forged).empty());
    forged.ballot = {7, 0};  // somebody else's
    EXPECT_TRUE(stage.machines[2].receive(1, forged).empty());
    EXPECT_TRUE(stage.machines[2].receive(9, forged).empty());
}

/// One random schedule; returns whether anybody decided.
bool play(std::uint64_t seed) {
    Random random(seed);
    const auto members = static_cast<std::uint32_t>(1 + random.below(7));
    Stage stage(members, static_cast<std::uint32_t>(random.below(members)));
    const std::uint64_t loss = random.below(60), twice = random.below(30), silence = random.below(20);
    std::set<std::string> proposed;
    std::vector<std::uint64_t> silent_until(members, 0);
    const auto text = [](const VoteValue& value) {
        return value.averaged ? std::string("averaged") : value.cause;
    };
    for (std::uint64_t now = 0; now < 400; ++now) {
        if (random.below(100) < 6) {
            const auto who = static_cast<std::uint32_t>(random.below(members));
            const VoteValue value = who == stage.leader && random.below(2) == 0 ? averaged() : failed(who);
            proposed.insert(text(value));
            stage.post(who, stage.machines[who].propose(value));
        }
        if (random.below(100) < silence) silent_until[random.below(members)] = now + random.below(100);
        if (random.below(100) < 10) {
            const auto who = static_cast<std::uint32_t>(random.below(members));
            stage.post(who, stage.machines[who].repeat());
        }
        if (stage.letters.empty()) continue;
        const std::size_t index = random.below(stage.letters.size());
        const Stage::Letter& letter = stage.letters[index];
        if (silent_until[letter.to] > now || silent_until[letter.from] > now) continue;
        if (random.below(100) < loss)
            stage.letters.erase(stage.letters.begin() + static_cast<std::ptrdiff_t>(index));
        else
            stage.deliver(index, random.below(100) < twice);
        std::optional<VoteValue> decision;
        for (const VoteMachine& machine : stage.machines) {
            if (!machine.decision()) continue;
            if (decision) {
                EXPECT_EQ(*decision, *machine.decision()) << "seed " << seed;
            }
            decision = machine.decision();
            EXPECT_TRUE(proposed.contains(text(*decision))) << "seed " << seed;
        }
        if (testing::Test::HasFailure()) return false;
    }
    // Once the network is well, a proposer that tries gets a decision.
    stage.letters.clear();
    for (int tries = 0; tries < 3 && !stage.machines[0].decision(); ++tries) {
        stage.post(0, stage.machines[0].propose(failed(0)));
        proposed.insert(text(failed(0)));
        stage.deliver_all();
    }
    EXPECT_TRUE(stage.machines[0].decision()) << "seed " << seed;
    return stage.machines[0].decision() && stage.machines[0].decision()->averaged;
}

TEST(AveragerVote, no_schedule_leads_to_two_decisions) {
    int averaged_runs = 0;
    for (std::uint64_t seed = 1; seed <= 20000 && !HasFailure(); ++seed) averaged_runs += play(seed) ? 1 : 0;
    EXPECT_GT(averaged_runs, 500);
}

RoundPlan plan_of(std::size_t members) {
    RoundPlan plan;
    plan.members.resize(members);
    for (std::size_t i = 0; i < members; ++i) plan.members[i].weight = 1;
    return plan;
}

TEST(AveragerBlame, a_dead_member_is_blamed_by_all) {
    std::vector<Observation> seen(4);
    for (const std::size_t i : {0u, 1u, 2u}) seen[i].blames = {{3, "connection reset"}};
    EXPECT_EQ(find_culprits(seen, {false, false, false, true}, 0, plan_of(4)).lost,
              std::vector<std::uint32_t>{3});
}

TEST(AveragerBlame, of_a_broken_link_only_one_end_goes) {
    std::vector<Observation> seen(4);
    seen[1].blames = {{2, "connection reset"}};
    seen[2].blames = {{1, "connection reset"}};
    EXPECT_EQ(find_culprits(seen, std::vector<bool>(4, false), 0, plan_of(4)).lost,
              std::vector<std::uint32_t>{2});
}

TEST(AveragerBlame, who_reaches_nobody_goes_and_not_everybody_else) {
    std::vector<Observation> seen(5);
    seen[4].blames = {{0, "x"}, {1, "x"}, {2, "x"}};
    EXPECT_EQ(find_culprits(seen, std::vector<bool>(5, false), 0, plan_of(5)).lost,
              std::vector<std::uint32_t>{4});
}

TEST(AveragerBlame, who_complains_of_several_that_nobody_else_complains_of_goes) {
    std::vector<Observation> seen(16);
    for (std::uint32_t honest = 0; honest < 7; ++honest) seen[12].blames.push_back({honest, "made up"});
    EXPECT_EQ(find_culprits(seen, std::vector<bool>(16, false), 0, plan_of(16)).lost,
              std::vector<std::uint32_t>{12});
}

TEST(AveragerBlame, a_proposer_that_alone_complains_of_half_of_the_others_stays_and_of_more_goes) {
    std::vector<Observation> seen(5);
    seen[4].blames = {{0, "decides nothing"}, {1, "connection reset"}};
    const std::vector<bool> nobody_silent(5, false);
    const Culprits two = find_culprits(seen, nobody_silent, 4, plan_of(5));
    EXPECT_EQ(two.lost, (std::vector<std::uint32_t>{0, 1}));
    EXPECT_NE(two.cause.find("connection reset"), std::string::npos) << two.cause;
    seen[0].blames = {{4, "connection reset"}};  // confirmed
    EXPECT_EQ(find_culprits(seen, nobody_silent, 4, plan_of(5)).lost, std::vector<std::uint32_t>{4});
    seen[0].blames.clear();
    seen[4].blames.push_back({2, "connection reset"});
    EXPECT_EQ(find_culprits(seen, nobody_silent, 4, plan_of(5)).lost, std::vector<std::uint32_t>{4});
}

TEST(AveragerBlame, different_digests_name_the_odd_one) {
    std::vector<Observation> seen(3);
    for (Observation& observation : seen) {
        observation.complete = true;
        observation.digests = {{1, 1}, {2, 2}, {3, 3}};
    }
    const RoundPlan plan = plan_of(3);
    EXPECT_TRUE(compare_digests(seen, plan).empty());
    seen[2].digests[0] = {9, 9};  // 2 got something else from 0 than 1 did
    ASSERT_EQ(compare_digests(seen, plan).size(), 1u);
    EXPECT_EQ(compare_digests(seen, plan)[0].member, 2u);
    seen[1].digests[0] = {8, 8};  // and so did 1: 0 is the liar
    EXPECT_EQ(compare_digests(seen, plan)[0].member, 0u);
}

}  // namespace
}  // namespace shoal::collective
