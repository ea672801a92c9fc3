// Real peers on real sockets that average in groups.
#include "train/real_swarm.h"

#include <algorithm>
#include <cmath>
#include <gtest/gtest.h>

namespace shoal::train {
namespace {

/// Root mean square of the differences, as a share of the parameters' own.
double apart(const std::vector<float>& a, const std::vector<float>& b) {
    double difference = 0, size = 0;
    for (std::size_t i = 0; i < a.size(); ++i) {
        const double d = static_cast<double>(a[i]) - b[i];
        difference += d * d;
        size += static_cast<double>(a[i]) * a[i];
    }
    return std::sqrt(difference / size);
}

TEST(Groups, FourRealPeersInGroupsOfTwoTrainOneModel) {
    run::RunDefinition definition = testing_support::convnet_run();
    definition.averaging.group_size = 2;
    definition.averaging.codec = "fp16";
    definition.run.steps = 12;
    const auto traces = testing_support::train_swarm(
        {definition, {1.0, 1.0, 1.0, 1.0}, testing_support::fresh_folder("groups")});
    std::size_t met = 0;
    for (const auto& trace : traces) {
        for (const auto& [step, members] : trace.members) met += members > 1 ? 1 : 0;
        // One whose parameters were replaced by anything but a mean of theirs is further away than this.
        EXPECT_LT(apart(trace.parameters, traces[0].parameters), 0.2);
    }
    // In how many steps a peer takes part depends on the machine here; tests/sim/group_straggler_test has
    // bounds.
    EXPECT_GE(met, 2U) << "rounds of more than one peer";
}

}  // namespace
}  // namespace shoal::train
