#include "shoal/optim/parameter_layout.h"

#include <gtest/gtest.h>
#include <limits>

#include "shoal/base/error.h"

namespace shoal::optim {
namespace {

TEST(ParameterLayout, places_tensors_one_behind_the_other) {
    const ParameterLayout layout(
        {{"weight", {3, 4}, true}, {"empty", {0, 7}, true}, {"scale", {}, false}, {"bias", {5}, false}});
    EXPECT_EQ(layout.size(), 18U);
    EXPECT_EQ(layout.tensors()[1].count, 0U);
    EXPECT_EQ(layout.tensors()[2].offset, 12U);
    EXPECT_EQ(layout.tensors()[2].count, 1U);
    ASSERT_NE(layout.find("bias"), nullptr);
    EXPECT_EQ(layout.find("bias")->offset, 13U);
    EXPECT_EQ(layout.find("no such"), nullptr);
    EXPECT_EQ(layout.describe(), "weight [3, 4] decays\nempty [0, 7] decays\nscale []\nbias [5]\n");
}

TEST(ParameterLayout, tells_what_is_frozen_at_first) {
    const ParameterLayout layout({{"a", {2}, true, 5}, {"b", {2}, false}});
    EXPECT_EQ(layout.tensors()[0].frozen_steps, 5);
    EXPECT_EQ(layout.describe(), "a [2] decays, frozen for 5 steps\nb [2]\n");
}

TEST(ParameterLayout, of_nothing_is_empty) {
    EXPECT_EQ(ParameterLayout().size(), 0U);
    EXPECT_EQ(ParameterLayout(std::vector<ParameterTensor>{}).describe(), "");
}

TEST(ParameterLayout, refuses_what_makes_no_sense) {
    constexpr std::int64_t kHuge = std::numeric_limits<std::int64_t>::max();
    const std::vector<std::vector<ParameterTensor>> impossible = {
        {{"", {1}, true}},
        {{"a", {1}, true}, {"a", {1}, true}},
        {{"a", {2, -1}, true}},
        {{"a", {2}, true, -1}},
        {{"a", {kHuge}, true}},
        {{"a", {1LL << 31, 1LL << 31, 2}, true}},
        {{"a", {kHuge / 4}, true}, {"b", {1}, true}},
    };
    for (const auto& tensors : impossible) {
        try {
            const ParameterLayout layout(tensors);
            ADD_FAILURE() << layout.describe();
        } catch (const Error& error) {
            EXPECT_EQ(error.kind(), ErrorKind::invalid_argument);
        }
    }
    EXPECT_EQ(ParameterLayout({{"a", {kHuge / 4}, true}}).size(), static_cast<std::size_t>(kHuge / 4));
}

}  // namespace
}  // namespace shoal::optim
