#include "shoal/collective/group_measures.h"

#include <gtest/gtest.h>

namespace shoal::collective {
namespace {

std::map<PeerId, Progress> sample_of(const std::vector<std::uint32_t>& groups) {
    std::map<PeerId, Progress> sample;
    for (std::size_t i = 0; i < groups.size(); ++i) {
        const std::string text = "peer " + std::to_string(i);
        Progress progress;
        progress.peer = PeerId(sha256(as_bytes(std::string_view(text))));
        progress.groups = groups[i];
        sample[progress.peer] = progress;
    }
    return sample;
}

TEST(GroupMeasures, TakeTheNumberOfGroupsThatMostSay) {
    GroupMeasures measures;
    EXPECT_EQ(measures.groups(), 0U);
    measures.set_groups(sample_of({32, 16, 32, 64, 32, 16}));
    EXPECT_EQ(measures.groups(), 32U);
    measures.set_groups(sample_of({0, 0, 0, 16}));
    EXPECT_EQ(measures.groups(), 16U) << "who does not know yet says nothing";
    measures.set_groups(sample_of({0, 0}));
    EXPECT_EQ(measures.groups(), 0U);
}

}  // namespace
}  // namespace shoal::collective
