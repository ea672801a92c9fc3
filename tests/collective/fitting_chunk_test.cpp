// The chunk that a leader names: short on slow lines, long where processors limit a round.
#include <gtest/gtest.h>

#include "shoal/collective/round_plan.h"

namespace shoal::collective {
namespace {

constexpr std::size_t kUsual = 65536;

std::vector<Join> joins(std::size_t count, std::size_t elements, double bytes_per_second) {
    std::vector<Join> all(count);
    for (Join& join : all) {
        join.weight = 1;
        join.elements = elements;
        join.upload = join.download = bytes_per_second;
    }
    return all;
}

std::size_t chunk(std::size_t count, std::size_t elements, double bytes_per_second) {
    return fitting_chunk(joins(count, elements, bytes_per_second), kUsual, compress::VectorFormat("fp16"));
}

TEST(FittingChunk, is_a_hundredth_of_a_share_on_slow_lines) {
    EXPECT_EQ(chunk(4, 4'000'000, 1e6), 10'000U);
}

TEST(FittingChunk, is_never_shorter_than_the_smallest_nor_longer_than_usual) {
    EXPECT_EQ(chunk(16, 4'000'000, 625e3), 2'500U);
    EXPECT_EQ(chunk(16, 1'785'000, 625e3), kSmallestChunk);  // would be 1115
    EXPECT_EQ(chunk(2, 100'000'000, 1e6), kUsual);
    EXPECT_EQ(fitting_chunk(joins(16, 1'785'000, 625e3), 16, compress::VectorFormat("fp16")), 16U)
        << "who wants less gets less";
}

TEST(FittingChunk, takes_a_line_10_ms_at_least) {
    // 2 MB over lines of 25 MB/s take 0.12 s with 4 members: twelve chunks of a share, not a hundred.
    EXPECT_EQ(chunk(4, 1'000'000, 25e6), 20'833U);
    EXPECT_EQ(chunk(4, 80'000, 25e6), 20'000U) << "one";
    EXPECT_EQ(chunk(4, 16'000'000, 125e6), kUsual) << "on a line of a gigabit as ever";
}

TEST(FittingChunk, is_short_while_nobody_knows_the_lines) {
    EXPECT_EQ(chunk(4, 4'000'000, 0), 10'000U);
}

TEST(FittingChunk, of_one_peer_alone_or_of_helpers_alone_is_the_usual) {
    EXPECT_EQ(chunk(1, 4'000'000, 1e6), kUsual);
    std::vector<Join> helpers = joins(3, 0, 1e6);
    for (Join& join : helpers) join.role = Role::auxiliary;
    EXPECT_EQ(fitting_chunk(helpers, kUsual, compress::VectorFormat("fp16")), kUsual);
}

}  // namespace
}  // namespace shoal::collective
