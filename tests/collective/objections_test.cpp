#include "shoal/collective/objections.h"

#include "split_support.h"

#include <gtest/gtest.h>

#include "shoal/collective/averager.h"

namespace shoal::collective {
namespace {

using Objections = std::vector<std::vector<Objection>>;

std::vector<std::uint64_t> numbers_of(std::size_t members) {
    std::vector<std::uint64_t> numbers;
    for (std::size_t i = 0; i < members; ++i) numbers.push_back(100 + i);
    return numbers;
}

std::vector<SplitMember> allowed(const std::vector<SplitMember>& claims, const Objections& objections) {
    return allowed_lines(claims, numbers_of(claims.size()), objections);
}

TEST(Objections, a_claim_is_cut_once_more_than_half_of_the_others_object) {
    std::vector<SplitMember> claims;
    add_members(claims, 5, full_member(100, 100));
    for (std::size_t objectors = 0; objectors <= 4; ++objectors) {
        Objections objections(5);
        for (std::size_t k = 0; k < objectors; ++k) objections[k] = {{104, 20, 30}};
        const SplitMember line = allowed(claims, objections)[4];
        EXPECT_EQ(line.upload, objectors >= 3 ? 20 : 100) << objectors;
        EXPECT_EQ(line.download, objectors >= 3 ? 30 : 100) << objectors;
    }
    // Nobody objects to itself, and nobody counts twice.
    Objections objections(5);
    objections[0] = {{104, 20, 20}, {104, 20, 20}, {104, 20, 20}};
    objections[4] = {{104, 20, 20}};
    EXPECT_EQ(allowed(claims, objections)[4].upload, 100);
}

TEST(Objections, of_two_members_either_is_all_the_others) {
    std::vector<SplitMember> claims;
    add_members(claims, 2, full_member(100, 100));
    EXPECT_EQ(allowed(claims, {{{101, 20, 20}}, {}})[1].upload, 20);
}

TEST(Objections, the_median_of_what_is_allowed_counts) {
    std::vector<SplitMember> claims;
    add_members(claims, 4, full_member(100, 100));
    const Objections objections = {{{103, 1, 1}}, {{103, 40, 40}}, {{103, 60, 60}}, {}};
    EXPECT_EQ(allowed(claims, objections)[3].upload, 40);
    // An objection never adds to a claim.
    claims[3].upload = 10;
    EXPECT_EQ(allowed(claims, objections)[3].upload, 10);
}

TEST(Objections, no_claim_counts_for_more_than_ten_times_the_median) {
    std::vector<SplitMember> claims;
    add_members(claims, 3, full_member(100, 50));
    claims[0].upload = claims[0].download = 1e9;
    const SplitMember line = allowed(claims, Objections(3))[0];
    EXPECT_EQ(line.upload, 100 * kClaimOverMedian);
    EXPECT_EQ(line.download, 50 * kClaimOverMedian);
    claims[0].upload = 100 * kClaimOverMedian;
    EXPECT_EQ(allowed(claims, Objections(3))[0].upload, 100 * kClaimOverMedian);
}

TEST(Objections, a_member_that_claims_nothing_can_be_cut_as_well) {
    std::vector<SplitMember> claims;
    add_members(claims, 3, full_member(100, 100));
    claims[2] = full_member(0, 0);
    EXPECT_EQ(allowed(claims, Objections(3))[2].upload, 100);
    EXPECT_EQ(allowed(claims, {{{102, 7, 8}}, {{102, 7, 8}}, {}})[2].upload, 7);
}

ObjectionBook::Seen seen(std::uint64_t member, double waited) {
    ObjectionBook::Seen s;
    s.member = member;
    s.upload_used = s.download_used = 1000;
    s.uploaded = s.downloaded = 2000;
    s.waited = waited;
    return s;
}

TEST(Objections, the_member_that_a_slow_round_waited_for_is_held_to_what_it_carried) {
    ObjectionBook book;
    const std::vector<ObjectionBook::Seen> others = {seen(1, 2), seen(2, 6)};
    book.round_ended(others, 10, 5);
    ASSERT_EQ(book.objections().size(), 1u);
    EXPECT_EQ(book.objections()[0].member, 2u);
    EXPECT_NEAR(book.objections()[0].upload, ObjectionBook::kMargin * 200, 1e-9);
    // Each round that keeps its promise relieves it, until nothing is left.
    book.round_ended(others, 5, 5);
    EXPECT_NEAR(book.objections()[0].upload, ObjectionBook::kMargin * ObjectionBook::kRelief * 200, 1e-9);
    for (int i = 0; i < 10; ++i) book.round_ended(others, 5, 5);
    EXPECT_TRUE(book.objections().empty());
}

TEST(Objections, bounds_are_what_they_say) {
    const auto objects = [](double waited, double seconds, double promised) {
        ObjectionBook book;
        const std::vector<ObjectionBook::Seen> others = {seen(1, waited)};
        book.round_ended(others, seconds, promised);
        return !book.objections().empty();
    };
    EXPECT_TRUE(objects(ObjectionBook::kWaited * 13, 13, 10));
    EXPECT_FALSE(objects(ObjectionBook::kWaited * 13 - 0.01, 13, 10));
    EXPECT_FALSE(objects(10, 12.99, 10));
    EXPECT_FALSE(objects(10, 13, 0));
    ObjectionBook book;
    std::vector<ObjectionBook::Seen> others = {seen(1, 10)};
    others[0].uploaded = others[0].downloaded = 100;
    book.round_ended(others, ObjectionBook::kShortRound - 0.01, 0.1);
    EXPECT_TRUE(book.objections().empty());
    book.round_ended(others, ObjectionBook::kShortRound, 0.1);
    EXPECT_EQ(book.objections().size(), 1u);
}

TEST(Objections, who_carried_what_it_claimed_is_not_objected_to) {
    ObjectionBook book;
    std::vector<ObjectionBook::Seen> others = {seen(1, 10)};
    others[0].upload_used = others[0].download_used = 200;
    book.round_ended(others, 10, 5);
    EXPECT_TRUE(book.objections().empty());
}

TEST(Objections, a_join_carries_the_strictest_ones_only) {
    ObjectionBook book;
    for (std::uint64_t member = 1; member <= kMaximumObjections + 4; ++member) {
        std::vector<ObjectionBook::Seen> others = {seen(member, 90)};
        others[0].upload_used = others[0].download_used = 1e9;
        others[0].uploaded = others[0].downloaded = static_cast<double>(1000 + 100 * member);
        book.round_ended(others, 100, 1);
    }
    EXPECT_EQ(book.objections().size(), kMaximumObjections);
    for (std::size_t i = 1; i < kMaximumObjections; ++i)
        EXPECT_LE(book.objections()[i - 1].upload, book.objections()[i].upload);
}

}  // namespace
}  // namespace shoal::collective
