// Who may hold how much, and who gives way to whom.
#include "shoal/net/memory_budget.h"

#include <gtest/gtest.h>

#include "shoal/base/memory.h"

namespace shoal::net {
namespace {

/// A share that frees all it holds when it has to give way.
struct Holder {
    explicit Holder(const std::shared_ptr<MemoryBudget>& budget) : share(budget, [this] { leave(); }) {}
    bool take(std::size_t more) {
        if (!share.make_room(more)) return false;
        share.hold(share.held() + more);
        return true;
    }
    void leave() {
        ++left;
        share.hold(0);
    }
    int left = 0;
    MemoryBudget::Share share;
};

class Budgeting : public ::testing::Test {
  protected:
    const std::shared_ptr<MemoryBudget> budget = std::make_shared<MemoryBudget>(100);
};

TEST_F(Budgeting, the_whole_budget_may_be_held_and_not_a_byte_more) {
    Holder one(budget), other(budget);
    EXPECT_TRUE(one.take(50));
    EXPECT_TRUE(other.take(50));
    EXPECT_FALSE(other.take(1));
    EXPECT_EQ(budget->held(), 100U);
    EXPECT_EQ(one.left + other.left, 0);
}

TEST_F(Budgeting, what_a_share_held_is_there_again_when_it_has_gone) {
    {
        Holder gone(budget);
        EXPECT_TRUE(gone.take(100));
    }
    EXPECT_EQ(budget->held(), 0U);
    Holder next(budget);
    EXPECT_TRUE(next.take(100));
}

TEST_F(Budgeting, a_stranger_gives_way_to_another_only_if_it_holds_more_than_that_one_would) {
    Holder large(budget), small(budget);
    EXPECT_TRUE(large.take(80));
    EXPECT_TRUE(small.take(20));
    EXPECT_FALSE(small.take(60));  // would be as large
    EXPECT_EQ(large.left, 0);
    EXPECT_TRUE(small.take(59));
    EXPECT_EQ(large.left, 1);
    EXPECT_EQ(budget->held(), 79U);
}

TEST_F(Budgeting, all_strangers_give_way_to_a_useful_peer_the_largest_first_and_no_more_of_them_than_needed) {
    Holder useful(budget), small(budget), large(budget);
    useful.share.mark_useful();
    EXPECT_TRUE(small.take(30));
    EXPECT_TRUE(large.take(60));
    EXPECT_TRUE(useful.take(40));
    EXPECT_EQ(large.left, 1);
    EXPECT_EQ(small.left, 0);
    EXPECT_TRUE(useful.take(60));
    EXPECT_EQ(small.left, 1);
}

TEST_F(Budgeting, a_useful_peer_gives_way_to_nobody) {
    Holder useful(budget), other_useful(budget), stranger(budget);
    useful.share.mark_useful();
    other_useful.share.mark_useful();
    EXPECT_TRUE(useful.take(100));
    EXPECT_FALSE(stranger.take(1));
    EXPECT_FALSE(other_useful.take(1));
    EXPECT_EQ(useful.left, 0);
}

TEST_F(Budgeting, who_has_given_way_and_still_holds_something_is_not_asked_again) {
    MemoryBudget::Share stubborn(budget, [] {});
    stubborn.hold(100);
    Holder useful(budget);
    useful.share.mark_useful();
    EXPECT_FALSE(useful.take(1));
    EXPECT_FALSE(useful.take(1));
    EXPECT_EQ(budget->held(), 100U);
}

TEST(DefaultBudget, is_an_eighth_of_the_memory_and_512_mebibytes_at_least) {
    EXPECT_GT(memory_of_machine(), std::size_t{64} << 20);
    EXPECT_EQ(default_budget(), std::max(std::size_t{512} << 20, memory_of_machine() / 8));
}

}  // namespace
}  // namespace shoal::net
