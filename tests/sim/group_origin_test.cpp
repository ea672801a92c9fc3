// Whose parameters count in a group's mean: by what each peer has been through.
#include <algorithm>
#include <gtest/gtest.h>

#include "shoal/base/random.h"
#include "shoal/sim/swarm.h"

namespace shoal::sim {
namespace {

using namespace std::chrono_literals;

constexpr int kPeers = 24, kStepsAmongLate = 4;
constexpr std::int64_t kSteps = 40;

/// The rule, written down plainly: what a peer has been through, round by round.
class History {
  public:
    explicit History(const Node& node) : node_(node), is_of_step_(node.seen->synchronised.empty()) {}

    /// Holds the next round of this peer against it.
    void go_on(Step step, const collective::Verdict& verdict) {
        if (step != next_) is_of_step_ = false;  // it has missed one
        next_ = next(step);
        const auto& members = verdict.contributors;
        const auto own = std::find_if(members.begin(), members.end(),
                                      [this](const auto& member) { return member.peer == node_.peer.id; });
        ASSERT_NE(own, members.end());
        const bool all_count = std::all_of(members.begin(), members.end(),
                                           [](const auto& member) { return member.state_counts; });
        if (!all_count && !is_of_step_) {
            EXPECT_FALSE(own->state_counts) << "step " << value(step);
        }
        // It may have gone to another step and come back, which is seen in no round.
        passed_over += is_of_step_ && !own->state_counts ? 1 : 0;
        const bool among_late = !is_of_step_ && own->state_counts;
        among_late_ = among_late ? among_late_ + 1 : 0;
        rounds_among_late += among_late ? 1 : 0;
        rounds_not_counted += own->state_counts ? 0 : 1;
        if (!among_late || among_late_ >= kStepsAmongLate) is_of_step_ = true;
    }

    int rounds_among_late = 0, rounds_not_counted = 0, passed_over = 0;

  private:
    const Node& node_;
    bool is_of_step_;
    int among_late_ = 0;
    Step next_{};
};

/// What histories have shown.
struct Seen {
    int among_late = 0, not_counted = 0, passed_over = 0, newcomers = 0;
};

/// Peers freeze for a step or two, and others come; all is held against the rule.
void train_in_trouble(std::uint64_t seed, Seen& seen) {
    SwarmSettings settings;
    settings.group_size = 3;
    settings.target_batch_size = kPeers * 8;
    settings.last_step = kSteps;
    settings.parameters = 16;
    settings.spread = 1;
    Swarm swarm(seed, settings);
    NodeOptions options;
    options.time = 500ms;
    for (int i = 0; i < kPeers; ++i) swarm.add(options);
    Random random(seed);
    const auto is_over = [&] { return swarm.highest_step() >= kSteps; };
    while (!is_over() && swarm.now().since_start < 5min) {
        const NodePointer struck = swarm.nodes[random.below(swarm.nodes.size())];
        swarm.world.internet().freeze(struck->peer.id);
        swarm.run_until(is_over, from_seconds(0.2 + 1.3 * random.uniform()));
        swarm.world.internet().thaw(struck->peer.id);
        if (random.below(4) == 0) swarm.add(options);
    }
    ASSERT_TRUE(is_over());
    for (std::size_t i = 0; i < swarm.nodes.size(); ++i) {
        SCOPED_TRACE("node " + std::to_string(i));
        History history(*swarm.nodes[i]);
        for (const auto& [step, verdict] : swarm.nodes[i]->seen->averaged) history.go_on(step, verdict);
        seen.among_late += history.rounds_among_late;
        seen.not_counted += history.rounds_not_counted;
        seen.passed_over += history.passed_over;
        const bool is_newcomer = !swarm.nodes[i]->seen->synchronised.empty();
        seen.newcomers += is_newcomer && !swarm.nodes[i]->seen->averaged.empty() ? 1 : 0;
    }
}

TEST(GroupOrigins, ParametersThatAreNotTheAverageOfTheStepBeforeDoNotCount) {
    Seen seen;
    for (std::uint64_t seed = 1; seed <= 4; ++seed) {
        SCOPED_TRACE("seed " + std::to_string(seed));
        train_in_trouble(seed, seen);
    }
    // Or nothing has been shown.
    EXPECT_GE(seen.among_late, 3);
    EXPECT_GE(seen.not_counted, 100);
    EXPECT_GE(seen.newcomers, 10);
    EXPECT_LE(seen.passed_over, 10);
}

}  // namespace
}  // namespace shoal::sim
