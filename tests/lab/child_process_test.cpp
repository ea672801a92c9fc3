// Groups of processes that depend on each other end together.
#include "shoal/lab/child_process.h"

#include "run/temporary_folder.h"

#include <csignal>
#include <gtest/gtest.h>

namespace shoal::lab {
namespace {

using namespace std::chrono_literals;

class Groups : public testing::Test {
  protected:
    void start(const std::string& script) {
        const std::vector<std::string> words{"/bin/sh", "-c", script};
        children_.emplace_back(words, folder_.path() / std::to_string(children_.size()));
    }
    std::optional<GroupFailure> wait(std::chrono::milliseconds limit = 10min) {
        return wait_for_all(children_, limit);
    }
    run::TemporaryFolder folder_;
    std::vector<ChildProcess> children_;
};

TEST_F(Groups, that_end_well_are_no_failure) {
    start("exit 0");
    start("exit 0");
    EXPECT_FALSE(wait());
}

TEST_F(Groups, end_when_one_fails_though_one_before_it_waits_for_ever) {
    start("exec sleep 100000");
    start("exit 3");
    start("exec sleep 100000");
    const auto failure = wait();
    ASSERT_TRUE(failure && failure->status);
    EXPECT_EQ(failure->child, 1U);
    EXPECT_EQ(failure->status->code, 3);
    for (const std::size_t other : {0U, 2U}) {
        const auto ended = children_[other].poll();
        ASSERT_TRUE(ended) << "killed and reaped";
        EXPECT_TRUE(ended->signalled);
        EXPECT_EQ(ended->code, SIGKILL);
    }
}

TEST_F(Groups, end_when_one_is_killed) {
    start("exec sleep 100000");
    start("kill -9 $$");
    const auto failure = wait();
    ASSERT_TRUE(failure && failure->status);
    EXPECT_EQ(failure->child, 1U);
    EXPECT_TRUE(failure->status->signalled);
}

TEST_F(Groups, that_hang_end_when_their_time_is_over_and_the_first_that_ran_is_named) {
    start("exit 0");
    start("exec sleep 100000");
    ASSERT_EQ(children_[0].wait().code, 0);
    const auto failure = wait(50ms);
    ASSERT_TRUE(failure);
    EXPECT_EQ(failure->child, 1U);
    EXPECT_FALSE(failure->status);
    EXPECT_TRUE(children_[1].poll().has_value());
}

TEST_F(Groups, are_waited_for_no_longer_than_said) {
    start("exec sleep 100000");
    start("exit 0");
    EXPECT_FALSE(children_[0].wait_until(std::chrono::steady_clock::now() + 50ms));
    EXPECT_TRUE(children_[1].wait_until(std::chrono::steady_clock::now() + 10min));
}

}  // namespace
}  // namespace shoal::lab
