#include "shoal/collective/averager.h"

#include "averager_harness.h"
#include "verdict_checks.h"

#include <algorithm>
#include <gtest/gtest.h>
#include <limits>

#include "shoal/collective/round_plan.h"
#include "shoal/compress/codec.h"

namespace shoal::collective {
namespace {

using namespace std::chrono_literals;

void expect_averaged(AveragerSwarm& swarm, const std::vector<std::size_t>& members, double tolerance = 1e-6) {
    std::vector<PeerId> ids;
    for (const std::size_t i : members) ids.push_back(swarm[i].id);
    std::sort(ids.begin(), ids.end());
    const std::vector<float>* first = nullptr;
    for (const std::size_t i : members) {
        AveragerSwarm::Peer& peer = swarm[i];
        ASSERT_TRUE(peer.verdict) << "peer " << i << ": "
                                  << (peer.error ? describe(peer.error) : "no verdict");
        ASSERT_EQ(peer.verdict->outcome, Verdict::Outcome::averaged)
            << "peer " << i << ": " << peer.verdict->cause;
        std::vector<PeerId> contributors;
        for (const Contributor& c : peer.verdict->contributors) contributors.push_back(c.peer);
        ASSERT_EQ(contributors, ids);
        EXPECT_EQ(peer.verdict->digest, swarm[members[0]].verdict->digest);
        if (peer.role == Role::auxiliary) continue;
        if (first == nullptr) {
            first = &peer.result;
            const std::vector<double> reference = swarm.reference(peer.verdict->contributors);
            for (std::size_t k = 0; k < reference.size(); ++k)
                ASSERT_NEAR(peer.result[k], reference[k], tolerance * std::max(1.0, std::fabs(reference[k])))
                    << k;
        }
        EXPECT_TRUE(same_bits(peer.result, *first)) << "peer " << i;
    }
}

std::vector<std::size_t> all_of(const AveragerSwarm& swarm) {
    std::vector<std::size_t> all;
    for (std::size_t i = 0; i < swarm.size(); ++i) all.push_back(i);
    return all;
}

TEST(Averager, four_peers_average_by_weight) {
    AveragerSwarm swarm(1);
    for (const double weight : {1.0, 2.0, 3.5, 0.25}) swarm.add(Role::full, weight);
    swarm.start_all();
    ASSERT_TRUE(swarm.finish());
    expect_averaged(swarm, all_of(swarm));
}

TEST(Averager, the_result_is_what_the_plain_formula_gives_bit_by_bit) {
    for (const std::string codec : {"fp32", "fp16", "bf16", "blockwise8"}) {
        SCOPED_TRACE(codec);
        SwarmSettings settings;
        settings.codec = codec;
        settings.elements = 50021;  // no multiple of anything
        AveragerSwarm swarm(3, settings);
        for (const double weight : {1.0, 7.0, 0.5, 100.0, 0.0}) swarm.add(Role::full, weight);
        swarm.start_all();
        ASSERT_TRUE(swarm.finish());
        expect_averaged(swarm, all_of(swarm), codec == "fp32" ? 1e-6 : codec == "fp16" ? 2e-3 : 0.2);
        const std::vector<float> plain = swarm_average(swarm, swarm[0].verdict->contributors, codec);
        for (std::size_t i = 0; i < swarm.size(); ++i) EXPECT_TRUE(same_bits(swarm[i].result, plain)) << i;
    }
}

TEST(Averager, groups_of_any_size_agree_bit_by_bit) {
    for (std::size_t peers = 1; peers <= 16; ++peers) {
        SCOPED_TRACE(peers);
        AveragerSwarm swarm(100 + peers);
        Random random(peers);
        for (std::size_t i = 0; i < peers; ++i)
            swarm.add(Role::full, 1 + random.uniform() * 100, random.uniform() * 1e8 + 1);
        swarm.start_all();
        ASSERT_TRUE(swarm.finish());
        expect_averaged(swarm, all_of(swarm));
    }
}

TEST(Averager, vectors_of_any_length_are_averaged) {
    for (const std::size_t elements : {1, 2, 3, 4095, 4096, 4097, 65536, 100000}) {
        SCOPED_TRACE(elements);
        SwarmSettings settings;
        settings.elements = elements;
        AveragerSwarm swarm(elements, settings);
        for (int i = 0; i < 3; ++i) swarm.add(Role::full, i + 1);
        swarm.start_all();
        ASSERT_TRUE(swarm.finish());
        expect_averaged(swarm, all_of(swarm));
    }
}

TEST(Averager, clients_and_auxiliary_peers_have_their_parts) {
    for (const std::string codec : {"fp32", "fp16", "bf16", "blockwise8"}) {
        SCOPED_TRACE(codec);
        SwarmSettings settings;
        settings.codec = codec;
        AveragerSwarm swarm(5, settings);
        swarm.add(Role::full, 1);
        swarm.add(Role::client, 2);
        swarm.add(Role::client, 3);
        swarm.add(Role::auxiliary);
        swarm.add(Role::full, 4);
        swarm.add(Role::auxiliary);
        swarm.start_all();
        ASSERT_TRUE(swarm.finish());
        expect_averaged(swarm, all_of(swarm), codec == "fp32" ? 1e-6 : codec == "fp16" ? 2e-3 : 0.3);
        // A client uploads its vector and downloads the result, and reduces nothing.
        const RoundReport& client = swarm[1].verdict->report;
        const std::size_t vector = compress::make_codec(codec)->encoded_size(settings.elements);
        EXPECT_NEAR(static_cast<double>(client.bytes_sent), static_cast<double>(vector), 64);
        EXPECT_NEAR(static_cast<double>(client.bytes_received), static_cast<double>(vector), 64);
        EXPECT_GT(swarm[3].verdict->report.bytes_sent, 0u);
    }
}

TEST(Averager, clients_with_only_an_auxiliary_peer_are_averaged) {
    AveragerSwarm swarm(6);
    swarm.add(Role::client, 1);
    swarm.add(Role::client, 2);
    swarm.add(Role::auxiliary);
    swarm.start_all();
    ASSERT_TRUE(swarm.finish());
    expect_averaged(swarm, all_of(swarm));
}

TEST(Averager, a_peer_alone_keeps_its_contribution_exactly) {
    for (const Role role : {Role::full, Role::client}) {
        SwarmSettings settings;
        settings.codec = "blockwise8";
        AveragerSwarm swarm(7, settings);
        swarm.add(role, 3);
        swarm.start_all();
        ASSERT_TRUE(swarm.finish());
        EXPECT_EQ(swarm[0].verdict->outcome, Verdict::Outcome::averaged);
        EXPECT_TRUE(same_bits(swarm[0].result, swarm[0].contribution));
    }
}

TEST(Averager, one_averager_runs_many_rounds) {
    AveragerSwarm swarm(8);
    for (int i = 0; i < 4; ++i) swarm.add(Role::full, i + 1);
    for (int step = 1; step <= 40; ++step) {
        swarm.start_all(static_cast<Step>(step));
        ASSERT_TRUE(swarm.finish());
        expect_averaged(swarm, all_of(swarm));
    }
}

TEST(Averager, a_round_begins_within_milliseconds_of_the_last_peer) {
    AveragerSwarm swarm(9);  // one way takes 1 ms
    for (int i = 0; i < 8; ++i) swarm.add();
    swarm.start_all();
    ASSERT_TRUE(swarm.finish());
    for (const std::size_t i : all_of(swarm)) swarm.start(i, Step{2});
    const TimePoint start = swarm.now();
    ASSERT_TRUE(swarm.finish());
    expect_averaged(swarm, all_of(swarm));
    for (const std::size_t i : all_of(swarm)) {
        EXPECT_LE(swarm[i].verdict->report.match_seconds, 0.0031) << i;  // join, begin
        EXPECT_LE(seconds(swarm[i].ended - start), 0.015) << i;
    }
}

TEST(Averager, an_early_peer_is_held_until_the_leader_is_ready) {
    // Whoever leads: each peer in turn is the late one.
    for (std::size_t late = 0; late < 4; ++late) {
        SCOPED_TRACE(late);
        AveragerSwarm swarm(10);
        for (int i = 0; i < 4; ++i) swarm.add();
        for (std::size_t i = 0; i < 4; ++i)
            if (i != late) swarm.start(i, Step{1}, 0, {}, 3s);
        swarm.simulation().run_for(2s);
        const TimePoint start = swarm.now();
        swarm.start(late, Step{1}, 0, {}, 1s);
        ASSERT_TRUE(swarm.finish());
        expect_averaged(swarm, all_of(swarm));
        EXPECT_LE(seconds(swarm.now() - start), 0.1);
    }
}

TEST(Averager, nobody_waits_longer_than_a_missing_peer_promised) {
    AveragerSwarm swarm(11);
    for (int i = 0; i < 4; ++i) swarm.add();
    for (const std::size_t missing : {0u, 1u, 2u, 3u}) {
        std::vector<std::size_t> present;
        const Step step{static_cast<std::int64_t>(missing) + 1};
        for (std::size_t i = 0; i < 4; ++i)
            if (i != missing) present.push_back(i);
        const TimePoint start = swarm.now();
        for (const std::size_t i : present) swarm.start(i, step, 0, {}, 500ms);
        ASSERT_TRUE(swarm.finish());
        expect_averaged(swarm, present);
        EXPECT_LT(seconds(swarm.now() - start), 2.3);
    }
}

TEST(Averager, a_peer_that_comes_too_late_is_told_to_synchronise) {
    AveragerSwarm swarm(12);
    for (int i = 0; i < 4; ++i) swarm.add();
    for (const std::size_t i : {0u, 1u, 2u}) swarm.start(i, Step{1}, 0, {}, 100ms);
    ASSERT_TRUE(swarm.finish());
    swarm.start(3, Step{1}, 0, {}, 100ms);
    ASSERT_TRUE(swarm.finish());
    ASSERT_TRUE(swarm[3].verdict);
    EXPECT_EQ(swarm[3].verdict->outcome, Verdict::Outcome::cut_off);
    EXPECT_EQ(swarm[3].result[0], -1);
}

TEST(Averager, different_attempts_meet_at_the_highest) {
    AveragerSwarm swarm(13);
    for (int i = 0; i < 4; ++i) swarm.add();
    const unsigned attempts[] = {2, 0, 1, 2};
    for (std::size_t i = 0; i < 4; ++i) swarm.start(i, Step{1}, attempts[i]);
    ASSERT_TRUE(swarm.finish());
    expect_averaged(swarm, all_of(swarm));
    for (std::size_t i = 0; i < 4; ++i) EXPECT_EQ(swarm[i].verdict->attempt, 2u);
    EXPECT_LT(seconds(swarm.now().since_start), 0.5);
}

TEST(Averager, peers_that_nobody_expects_are_welcome) {
    AveragerSwarm swarm(14);
    for (int i = 0; i < 4; ++i) swarm.add();
    swarm.hidden.insert(swarm[2].id);
    swarm.start(2, Step{1});
    swarm.simulation().run_for(50ms);
    for (const std::size_t i : {0u, 1u, 3u}) swarm.start(i, Step{1});
    ASSERT_TRUE(swarm.finish());
    expect_averaged(swarm, all_of(swarm));
}

TEST(Averager, numbers_that_are_not_finite_never_reach_a_result) {
    for (const std::string codec : {"fp32", "fp16", "bf16", "blockwise8"}) {
        for (const float bad :
             {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
            for (const std::size_t place : {0u, 9999u, 19999u}) {
                SCOPED_TRACE(codec + " " + std::to_string(bad) + " at " + std::to_string(place));
                SwarmSettings settings;
                settings.codec = codec;
                AveragerSwarm swarm(15, settings);
                for (int i = 0; i < 3; ++i) swarm.add();
                swarm[1].contribution[place] = bad;
                swarm.start_all();
                ASSERT_TRUE(swarm.finish());
                for (std::size_t i = 0; i < 3; ++i) {
                    ASSERT_TRUE(swarm[i].verdict);
                    EXPECT_EQ(swarm[i].verdict->outcome, Verdict::Outcome::failed);
                    EXPECT_EQ(swarm[i].verdict->lost, std::vector<PeerId>{swarm[1].id})
                        << swarm[i].verdict->cause;
                    EXPECT_LT(seconds(swarm[i].ended.since_start), 1);
                }
            }
        }
    }
}

TEST(Averager, other_lengths_and_codecs_are_refused_with_a_reason) {
    AveragerSwarm swarm(16);
    for (int i = 0; i < 4; ++i) swarm.add();
    swarm[3].contribution.resize(100);
    swarm[3].result.resize(100);
    swarm.start_all();
    ASSERT_TRUE(swarm.finish());
    // Three agree and go on; or, if the odd one leads, it is left behind.
    std::size_t averaged = 0;
    for (std::size_t i = 0; i < 4; ++i)
        if (swarm[i].verdict && swarm[i].verdict->outcome == Verdict::Outcome::averaged) ++averaged;
    EXPECT_EQ(averaged, 3u);
    ASSERT_TRUE(swarm[3].verdict);
    EXPECT_NE(swarm[3].verdict->outcome, Verdict::Outcome::averaged);
}

TEST(Averager, slow_lines_are_no_failure) {
    SwarmSettings settings;
    settings.elements = 500000;
    settings.chunk_elements = 65536;
    AveragerSwarm swarm(17, settings);
    sim::HostSettings slow;
    slow.upload_rate = slow.download_rate = 300e3;  // a chunk takes a second
    sim::HostSettings fast;
    fast.upload_rate = fast.download_rate = 1e7;
    swarm.add(Role::full, 1, 300e3, slow);
    swarm.add(Role::full, 1, 1e7, fast);
    swarm.add(Role::client, 1, 1e7, fast);
    swarm.start_all();
    ASSERT_TRUE(swarm.finish(1h));
    expect_averaged(swarm, all_of(swarm));
}

TEST(Averager, a_cancelled_peer_ends_at_once_and_the_others_go_on_without_it) {
    for (const Duration when : {0ms, 1ms, 3ms, 5ms, 8ms, 10ms}) {
        SCOPED_TRACE(when.count());
        AveragerSwarm swarm(18);
        swarm.retry = true;
        for (int i = 0; i < 4; ++i) swarm.add();
        swarm.start_all();
        swarm.simulation().run_for(when);
        swarm[1].cancel.emit(asio::cancellation_type::terminal);
        ASSERT_TRUE(swarm.finish());
        if (!swarm[1].verdict) {
            EXPECT_TRUE(is_cancellation(swarm[1].error));
        }
        for (const std::size_t i : {0u, 2u, 3u}) {
            ASSERT_TRUE(swarm[i].verdict) << i;
            EXPECT_EQ(swarm[i].verdict->outcome, Verdict::Outcome::averaged) << swarm[i].verdict->cause;
            EXPECT_TRUE(same_bits(swarm[i].result, swarm[0].result));
        }
        EXPECT_LT(seconds(swarm.now().since_start), 3.5);
    }
}

TEST(Averager, requests_that_make_no_sense_are_refused) {
    AveragerSwarm swarm(19);
    swarm.add();
    const auto outcome = [&swarm] {
        swarm.start(0);
        swarm.finish();
        try {
            std::rethrow_exception(swarm[0].error);
        } catch (const Error& error) {
            return error.kind();
        }
    };
    swarm[0].weight = -1;
    EXPECT_EQ(outcome(), ErrorKind::invalid_argument);
    swarm[0].weight = std::nan("");
    EXPECT_EQ(outcome(), ErrorKind::invalid_argument);
    swarm[0].weight = 1e10;
    EXPECT_EQ(outcome(), ErrorKind::invalid_argument);
    swarm[0].weight = 1;
    swarm[0].result.pop_back();
    EXPECT_EQ(outcome(), ErrorKind::invalid_argument);
    swarm[0].contribution.clear();
    EXPECT_EQ(outcome(), ErrorKind::invalid_argument);
}

}  // namespace
}  // namespace shoal::collective
