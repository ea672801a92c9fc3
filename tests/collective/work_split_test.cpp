#include "split_support.h"

#include <cmath>
#include <gtest/gtest.h>
#include <numeric>
#include <rapidcheck/gtest.h>

#include "shoal/base/error.h"

namespace shoal::collective {
namespace {

constexpr double kUnknown = -1;  // in the tables below; 0 means client mode there, as in hivemind

std::vector<SplitMember> members(const std::vector<double>& bandwidths) {
    std::vector<SplitMember> out;
    for (const double bandwidth : bandwidths) {
        SplitMember member;
        member.reduces = bandwidth != 0;
        member.upload = member.download = bandwidth == kUnknown ? 0 : bandwidth;
        out.push_back(member);
    }
    return out;
}

struct Row {
    std::size_t elements;
    std::vector<double> bandwidths;
    std::size_t minimum;
    std::vector<std::size_t> parts;
    bool unique;
};

/// hivemind's cost: max (V + (n - 2) p) / b.
double cost(const Row& row, const std::vector<std::size_t>& parts) {
    double worst = 0;
    for (std::size_t i = 0; i < parts.size(); ++i) {
        if (row.bandwidths[i] == 0) continue;
        const double load = static_cast<double>(row.elements) +
                            static_cast<double>(parts.size() - 2) * static_cast<double>(parts[i]);
        worst = std::max(worst, load / row.bandwidths[i]);
    }
    return worst;
}

TEST(WorkSplit, gives_the_parts_of_hivemind) {
    const std::vector<Row> rows = {
        {60, {.25, .25, .25, .25}, 0, {15, 15, 15, 15}, true},
        {1024, {.3, .5, .9}, 0, {0, 255, 769}, false},
        {60, {.44, .33, .22}, 0, {42, 18, 0}, false},
        {60, {.55, .44, .40}, 0, {35, 16, 9}, true},
        {1 << 20, {.3, .5, .9, .6}, 0, {0, 169327, 602629, 276620}, false},
        {1 << 20, {0, .5, 0, .6}, 0, {0, 428963, 0, 619613}, true},
        {60, {.55, .44, .40}, 10, {41, 19, 0}, true},
        {60, {.32, .55, .44}, 10, {0, 40, 20}, true},
        {2, {.55, .2, .44}, 10, {1, 0, 1}, true},
        {1, {.55, .2, .44}, 10, {1, 0, 0}, true},
        {100, {kUnknown, kUnknown}, 0, {50, 50}, true},
        {100, {kUnknown, kUnknown, kUnknown, kUnknown, kUnknown}, 0, {20, 20, 20, 20, 20}, true},
        {100, {0, 0, 0, kUnknown, kUnknown}, 0, {0, 0, 0, 50, 50}, true},
    };
    for (const Row& row : rows) {
        const std::vector<std::size_t> parts = split_work(row.elements, members(row.bandwidths), row.minimum);
        EXPECT_EQ(std::accumulate(parts.begin(), parts.end(), std::size_t{0}), row.elements);
        if (row.unique) {
            EXPECT_EQ(parts, row.parts);
        } else {
            EXPECT_LE(cost(row, parts), cost(row, row.parts) * (1 + 1e-9));
        }
    }
}

TEST(WorkSplit, reaches_the_optimal_cost) {
    const std::vector<std::pair<std::vector<double>, double>> rows = {
        {{.25, .25, .25, .25}, 6.0}, {{.3, .5, .9}, 3.3333},     {{.44, .33, .22}, 4.5455},
        {{.55, .44, .40}, 2.8777},   {{.3, .5, .9, .6}, 3.3333}, {{0, .5, 0, .6}, 3.6364},
    };
    for (const auto& [bandwidths, best] : rows) {
        const std::vector<SplitMember> group = members(bandwidths);
        EXPECT_NEAR(split_cost(split_fractions(group), group), best, 1e-4);
    }
}

TEST(WorkSplit, nobody_who_can_reduce_is_an_error) {
    EXPECT_THROW(split_work(100, members({0, 0, 0}), 0), Error);
    EXPECT_THROW(split_work(100, members({1, std::nan("")}), 0), Error);
}

TEST(WorkSplit, special_cases_fall_out) {
    // Equal peers: all-reduce.
    for (const double w : split_fractions(members({7, 7, 7, 7, 7}))) EXPECT_NEAR(w, 0.2, 1e-9);
    // One peer with n - 1 times the bandwidth of the others: a parameter server.
    const std::vector<double> server = split_fractions(members({7, 1, 1, 1, 1, 1, 1, 1}));
    EXPECT_NEAR(server[0], 1, 1e-9);
    // Fast auxiliary peers take most of the work.
    std::vector<SplitMember> group = members({1, 1, 1, 1});
    group.push_back(auxiliary_member(100));
    EXPECT_GT(split_fractions(group)[4], 0.9);
    // All contributors are clients: the auxiliary peers share everything.
    std::vector<SplitMember> clients = members({0, 0, 0});
    clients.push_back(auxiliary_member(1));
    clients.push_back(auxiliary_member(3));
    const std::vector<double> shared = split_fractions(clients);
    EXPECT_NEAR(shared[3], 0.25, 1e-9);
    EXPECT_NEAR(shared[4], 0.75, 1e-9);
}

/// Averaging times of the notes (5.3): 285.6 Mbit, limits in Mb/s, seconds.
struct Timing {
    const char* name;
    std::vector<SplitMember> group;
    double best, equal, server;
    double server_digit;  // half of the last one that the notes print
};

std::vector<SplitMember> hetero() {
    std::vector<SplitMember> group;
    add_members(group, 4, full_member(200, 200));
    add_members(group, 8, full_member(100, 100));
    add_members(group, 4, full_member(50, 50));
    return group;
}

std::vector<SplitMember> with(std::vector<SplitMember> group, std::size_t number, const SplitMember& member) {
    add_members(group, number, member);
    return group;
}

std::vector<SplitMember> without_reducers(std::vector<SplitMember> group, double slowest, double fastest) {
    for (SplitMember& member : group)
        if (member.upload >= slowest && member.upload <= fastest) member.reduces = false;
    return group;
}

std::vector<Timing> timings() {
    const std::vector<SplitMember> home = with({}, 8, full_member(20, 100));
    return {
        {"EQUAL", with({}, 16, full_member(200, 200)), 2.68, 2.68, 21.4, 0.05},
        {"HETERO", hetero(), 5.71, 10.71, 21.4, 0.05},
        {"HETERO + 4 aux 500", with(hetero(), 4, auxiliary_member(500)), 5.71, 9.71, 9.14, 0.005},
        {"HETERO + 4 aux 1000", with(hetero(), 4, auxiliary_member(1000)), 5.71, 9.71, 5.71, 0.005},
        {"HETERO, 100 clients", without_reducers(hetero(), 100, 100), 6.28, 15.7, 21.4, 0.05},
        {"HETERO, all clients, + 4 aux 1000",
         with(without_reducers(hetero(), 0, 1000), 4, auxiliary_member(1000)), 5.71, 5.71, 5.71, 0.005},
        {"1x1000 + 7x100", with({full_member(1000, 1000)}, 7, full_member(100, 100)), 2.86, 5.00, 2.86,
         0.005},
        {"8x 20/100", home, 25.0, 25.0, 100, 0.5},
        {"8x 20/100 + aux 1000", with(home, 1, auxiliary_member(1000)), 14.3, 23.8, 14.3, 0.05},
    };
}

TEST(WorkSplit, averaging_times_of_the_notes_come_out) {
    constexpr double kMegabits = 285.6;
    for (const Timing& t : timings()) {
        // Half of the last digit that the notes print.
        const double fine = t.best < 10 ? 0.005 : 0.05;
        EXPECT_NEAR(kMegabits * split_shortest(t.group).seconds, t.best, fine) << t.name;
        EXPECT_NEAR(kMegabits * split_cost(split_fractions(t.group), t.group), t.best, fine) << t.name;
        const double equal = kMegabits * split_cost(equal_split(t.group), t.group);
        const bool one_digit = t.equal == 15.7 || t.equal == 25.0 || t.equal == 23.8;
        EXPECT_NEAR(equal, t.equal, one_digit ? 0.05 : 0.005) << t.name;
        EXPECT_NEAR(kMegabits * split_cost(best_server_split(t.group), t.group), t.server, t.server_digit)
            << t.name;
    }
}

TEST(WorkSplit, weights_of_the_notes_come_out) {
    const std::vector<double> fractions = split_fractions(hetero());
    EXPECT_NEAR(fractions[0], 0.15, 1e-6);
    EXPECT_NEAR(fractions[5], 0.05, 1e-6);
    EXPECT_NEAR(fractions[15], 0, 1e-6);
}

TEST(WorkSplit, an_upload_that_is_slower_than_the_download_decides) {
    // One of four uploads at a fifth: it gets no share that it would have to send three times.
    std::vector<SplitMember> group = with({full_member(20, 100)}, 3, full_member(100, 100));
    EXPECT_NEAR(split_fractions(group)[0], 0, 1e-9);
    EXPECT_NEAR(split_shortest(group).seconds, 1.0 / 20, 1e-12);
    // The same the other way round.
    group[0] = full_member(100, 20);
    EXPECT_NEAR(split_fractions(group)[0], 0, 1e-9);
}

TEST(WorkSplit, who_only_sends_or_only_receives_counts_so) {
    // Two send, the other two receive, all reduce: upload of a sender 1 - w + 2w, of a receiver w.
    std::vector<SplitMember> group = with({}, 4, full_member(1, 1));
    group[0].receives = group[1].receives = false;
    group[2].sends = group[3].sends = false;
    const WorkSplit split = split_shortest(group);
    EXPECT_NEAR(split.seconds, split_cost(split.fractions, group), 1e-12);
    EXPECT_NEAR(split.seconds, 1.25, 1e-12);
}

TEST(WorkSplit, a_single_receiver_keeps_what_it_cannot_take_from_others) {
    // It reduces at least as much as its download leaves.
    std::vector<SplitMember> group = with({}, 2, full_member(1, 1));
    group[1].receives = false;
    group[1].sends = false;
    // The only sender is the only receiver: alone it need not send anything.
    EXPECT_EQ(split_shortest(group).seconds, 0);
    EXPECT_NEAR(split_fractions(group)[0], 1, 1e-12);
    // Two senders, one receiver with a download too slow for the whole vector of the other one.
    group[1].sends = true;
    group[1].upload = 10;
    group[0].download = 0.5;
    const WorkSplit split = split_shortest(group);
    EXPECT_NEAR(split.seconds, 2, 1e-12);
    EXPECT_NEAR(split_cost(split.fractions, group), 2, 1e-9);
}

TEST(WorkSplit, a_single_member_needs_no_time) {
    const WorkSplit split = split_shortest(with({}, 1, full_member(1, 1)));
    EXPECT_EQ(split.seconds, 0);
    EXPECT_EQ(split.fractions, std::vector<double>{1});
}

TEST(WorkSplit, limits_without_end_take_no_time) {
    const double none = std::numeric_limits<double>::infinity();
    const WorkSplit split = split_shortest(with({}, 4, full_member(none, none)));
    EXPECT_EQ(split.seconds, 0);
    for (const double w : split.fractions) EXPECT_NEAR(w, 0.25, 1e-12);
}

TEST(WorkSplit, what_can_never_end_is_an_error) {
    const std::vector<SplitMember> fast = with({}, 3, full_member(1, 1));
    EXPECT_THROW(split_shortest(with(fast, 1, full_member(0, 1))), Error);
    EXPECT_THROW(split_shortest(with(fast, 1, full_member(1, 0))), Error);
    EXPECT_THROW(split_shortest(with(fast, 1, full_member(-1, 1))), Error);
    EXPECT_THROW(split_shortest(with(fast, 1, full_member(1, std::nan("")))), Error);
    // Who need not send may have no upload.
    SplitMember listener = full_member(0, 1);
    listener.sends = listener.reduces = false;
    EXPECT_GT(split_shortest(with(fast, 1, listener)).seconds, 0);
}

TEST(WorkSplit, unknown_limits_count_as_the_mean_of_their_direction) {
    const std::vector<SplitMember> group = {full_member(10, 30), full_member(20, 50), full_member(0, 0),
                                            client_member(0)};
    const std::vector<SplitMember> known = with_known_limits(group);
    EXPECT_EQ(known[2].upload, 15);
    EXPECT_EQ(known[2].download, 40);
    EXPECT_TRUE(std::isinf(known[3].upload));
    EXPECT_TRUE(std::isinf(known[3].download));
    const std::vector<SplitMember> uploads = {full_member(10, 0), full_member(0, 0)};
    EXPECT_EQ(with_known_limits(uploads)[1].download, 10);
}

/// Hundreds of members cost so few passes over them that it is far below a millisecond.
TEST(WorkSplit, small_parts_are_given_up_to_the_bound) {
    // Auxiliary peers share in proportion to their lines.
    const auto parts_of = [](double large, std::vector<double> others) {
        std::vector<SplitMember> group;
        add_members(group, 4, auxiliary_member(large));
        for (const double one : others) group.push_back(auxiliary_member(one));
        add_members(group, 3, client_member(std::numeric_limits<double>::infinity()));
        std::vector<std::size_t> parts = split_work(1'000'000, group, 0);
        parts.erase(parts.begin(), parts.begin() + 4);
        parts.resize(others.size());
        return parts;
    };
    EXPECT_NEAR(static_cast<double>(parts_of(160, {10.1})[0]), 1e6 * 10.1 / 650.1, 1) << "above 1/16";
    EXPECT_EQ(parts_of(160, {9.9})[0], 0U) << "below it";
    // Three of 6.8 would be 3.09 % of all; of four no more than three are given up.
    EXPECT_EQ(parts_of(160, {6.8, 6.8, 6.8}), (std::vector<std::size_t>{0, 0, 0}));
    EXPECT_EQ(parts_of(160, {6.7, 6.7, 6.7, 9})[2], 0U);
    EXPECT_GT(parts_of(160, {6.7, 6.7, 6.7, 9})[3], 0U);
}

TEST(WorkSplit, takes_few_passes_whatever_the_scale) {
    Random random(7);
    for (int i = 0; i < 200; ++i) {
        const std::vector<SplitMember> group = random_group(random, 512, random_scale(random));
        EXPECT_LE(split_shortest(group).passes, 160u);
    }
}

RC_GTEST_PROP(WorkSplit, costs_what_it_says_and_no_split_nearby_is_faster, (std::uint64_t seed)) {
    Random random(seed);
    const std::vector<SplitMember> group = random_group(random, 1 + random.below(300), random_scale(random));
    const WorkSplit split = split_shortest(group);
    double sum = 0;
    for (std::size_t i = 0; i < group.size(); ++i) {
        RC_ASSERT(split.fractions[i] >= 0);
        RC_ASSERT(group[i].reduces || split.fractions[i] == 0);
        sum += split.fractions[i];
    }
    RC_ASSERT(std::abs(sum - 1) < 1e-12);
    // split_cost() fills in what is unknown, so only groups without a 0 can be asked.
    for (const SplitMember& member : group)
        if (member.upload == 0 || member.download == 0) return;
    const double cost = split_cost(split.fractions, group);
    RC_ASSERT(std::abs(cost - split.seconds) <= 1e-7 * split.seconds);
    RC_ASSERT(cost <= split_cost(equal_split(group), group) * (1 + 1e-9));
    RC_ASSERT(cost <= split_cost(best_server_split(group), group) * (1 + 1e-9));
    std::vector<double> other = split.fractions;
    const std::size_t from = random.below(group.size()), to = random.below(group.size());
    if (!group[to].reduces) return;
    const double moved = other[from] * random.uniform();
    other[from] -= moved;
    other[to] += moved;
    RC_ASSERT(cost <= split_cost(other, group) * (1 + 1e-7));
}

RC_GTEST_PROP(WorkSplit, parts_add_up_and_none_is_negative, (std::uint64_t seed)) {
    Random random(seed);
    const std::size_t elements = 1 + random.below((1u << 30) - 1);
    const double scale = std::pow(10.0, -9 + 14 * random.uniform());
    std::vector<double> bandwidths(1 + random.below(255));
    for (double& bandwidth : bandwidths) bandwidth = random.uniform() * scale + 1e-6;
    const std::size_t minimum = random.below(2) == 0 ? 0 : random.below(elements / 10 + 1);
    const std::vector<std::size_t> parts = split_work(elements, members(bandwidths), minimum);
    RC_ASSERT(parts.size() == bandwidths.size());
    std::size_t sum = 0;
    for (const std::size_t part : parts) {
        RC_ASSERT(part <= elements);
        sum += part;
    }
    RC_ASSERT(sum == elements);
}

}  // namespace
}  // namespace shoal::collective
