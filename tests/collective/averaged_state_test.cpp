// Rounds that average a gradient and, behind it, the state that it was computed with: the one by samples, the
// other with equal weights over those members whose state is that of the step.
#include "averager_harness.h"

#include <gtest/gtest.h>

#include "shoal/collective/group_compute.h"
#include "shoal/collective/round_plan.h"
#include "shoal/compress/vector_codec.h"
#include "shoal/sim/quadratic_compute.h"

namespace shoal::collective {
namespace {

constexpr std::size_t kGradient = 9001, kState = 8003;

struct Member {
    double weight;
    bool state_counts;
};

SwarmSettings with_state(const std::string& codec, std::size_t chunk_elements) {
    SwarmSettings settings;
    settings.codec = codec;
    settings.small_codec = codec == "fp32" ? "" : "fp32";
    settings.small_below = 1000;
    settings.tensors = {kGradient, kState};
    settings.elements = kGradient + kState;
    settings.chunk_elements = chunk_elements;
    return settings;
}

void add_members(AveragerSwarm& swarm, const std::vector<Member>& members) {
    for (const Member& member : members) {
        AveragerSwarm::Peer& peer = swarm.add(Role::full, member.weight);
        peer.state_tail = kState;
        peer.state_counts = member.state_counts;
    }
}

std::vector<float> coded(const compress::VectorCodec& codec, const std::vector<float>& values) {
    Bytes encoded(codec.encoded_size(0, values.size()));
    codec.encode(0, values, encoded);
    std::vector<float> decoded(values.size());
    codec.decode(0, encoded, decoded);
    return decoded;
}

/// What comes out, written down plainly: without shares and chunks.
std::vector<float> plain_average(AveragerSwarm& swarm, const SwarmSettings& settings) {
    const compress::VectorFormat format(settings.codec, settings.small_codec, settings.small_below);
    const compress::VectorCodec codec(format, format.pieces(settings.tensors, settings.elements, kState),
                                      settings.elements);
    std::vector<AveragerSwarm::Peer*> members;
    double weights = 0, states = 0;
    for (std::size_t i = 0; i < swarm.size(); ++i) {
        members.push_back(&swarm[i]);
        weights += swarm[i].weight;
        states += swarm[i].state_counts ? 1 : 0;
    }
    std::sort(members.begin(), members.end(), [](auto* a, auto* b) { return a->id < b->id; });
    const bool all_count = states == 0;
    if (all_count) states = static_cast<double>(members.size());
    std::vector<float> sum(settings.elements, 0.0F);
    for (const AveragerSwarm::Peer* member : members) {
        const std::vector<float> values = coded(codec, member->contribution);
        const auto scale = static_cast<float>(member->weight / weights);
        const bool counts = member->state_counts || all_count;
        const auto state_scale = counts ? static_cast<float>(1 / states) : 0.0F;
        for (std::size_t i = 0; i < sum.size(); ++i) {
            const float product = (i < kGradient ? scale : state_scale) * values[i];
            sum[i] = sum[i] + product;
        }
    }
    return coded(codec, sum);
}

/// What counts nowhere may hold anything that is finite.
void expect_plain_average(const SwarmSettings& settings, const std::vector<Member>& members) {
    AveragerSwarm swarm(41, settings);
    add_members(swarm, members);
    swarm.start_all();
    ASSERT_TRUE(swarm.finish());
    const std::vector<float> plain = plain_average(swarm, settings);
    const bool all_count =
        std::none_of(members.begin(), members.end(), [](const Member& m) { return m.state_counts; });
    for (std::size_t i = 0; i < swarm.size(); ++i) {
        ASSERT_TRUE(swarm[i].verdict);
        ASSERT_EQ(swarm[i].verdict->outcome, Verdict::Outcome::averaged) << swarm[i].verdict->cause;
        EXPECT_EQ(swarm[i].result, plain) << i;
        for (const Contributor& member : swarm[i].verdict->contributors) {
            const AveragerSwarm::Peer& peer = swarm.find(member.peer);
            EXPECT_EQ(member.weight, peer.weight);
            EXPECT_EQ(member.state_counts, peer.state_counts || all_count);
        }
    }
}

TEST(AveragedState, every_state_of_the_step_weighs_the_same_whatever_samples_its_peer_brings) {
    for (const std::string codec : {"fp32", "fp16", "blockwise8"}) {
        for (const std::size_t chunk : {1024, 4096, 65536}) {
            SCOPED_TRACE(codec + " " + std::to_string(chunk));
            expect_plain_average(with_state(codec, chunk), {{16, true}, {48, true}, {0, true}, {1, true}});
        }
    }
}

TEST(AveragedState, an_older_one_counts_nothing_though_its_peers_samples_do) {
    expect_plain_average(with_state("fp16", 4096), {{16, true}, {48, false}, {0, false}, {0, true}});
    expect_plain_average(with_state("fp16", 4096), {{48, false}, {16, false}, {0, true}});
}

TEST(AveragedState, where_all_are_old_all_count) {
    expect_plain_average(with_state("fp16", 4096), {{16, false}, {48, false}, {0, false}});
}

TEST(AveragedState, of_a_lone_peer_is_its_own) {
    const SwarmSettings settings = with_state("fp16", 4096);
    AveragerSwarm swarm(42, settings);
    add_members(swarm, {{16, false}});
    swarm.start_all();
    ASSERT_TRUE(swarm.finish());
    ASSERT_TRUE(swarm[0].verdict);
    ASSERT_EQ(swarm[0].verdict->outcome, Verdict::Outcome::averaged);
    EXPECT_EQ(swarm[0].result, swarm[0].contribution);
    EXPECT_TRUE(swarm[0].verdict->contributors.at(0).state_counts);
}

TEST(AveragedState, numbers_that_are_not_finite_are_found_in_a_state_that_does_not_count) {
    AveragerSwarm swarm(43, with_state("fp16", 4096));
    add_members(swarm, {{16, true}, {16, false}, {16, true}});
    swarm[1].contribution.back() = std::numeric_limits<float>::infinity();
    swarm.start_all();
    ASSERT_TRUE(swarm.finish());
    for (const std::size_t i : {0, 2}) {
        ASSERT_TRUE(swarm[i].verdict);
        EXPECT_EQ(swarm[i].verdict->outcome, Verdict::Outcome::failed);
        EXPECT_EQ(swarm[i].verdict->lost, std::vector<PeerId>{swarm[1].id});
    }
}

TEST(AveragedState, of_another_length_is_left_out) {
    AveragerSwarm swarm(44, with_state("fp32", 4096));
    add_members(swarm, {{16, true}, {16, true}, {16, true}, {16, true}});
    swarm[3].state_tail = kState - 1;
    swarm.start_all();
    ASSERT_TRUE(swarm.finish());
    std::size_t averaged = 0;
    for (std::size_t i = 0; i < 3; ++i)
        if (swarm[i].verdict && swarm[i].verdict->outcome == Verdict::Outcome::averaged) ++averaged;
    EXPECT_EQ(averaged, 3U);
    ASSERT_TRUE(swarm[3].verdict);
    EXPECT_NE(swarm[3].verdict->outcome, Verdict::Outcome::averaged);
}

TEST(AveragedState, that_cannot_be_is_the_callers_fault) {
    for (const auto& [tail, counts] :
         {std::pair(kGradient + kState, true), std::pair(std::size_t{0}, true)}) {
        AveragerSwarm swarm(45, with_state("fp32", 4096));
        add_members(swarm, {{16, counts}});
        swarm[0].state_tail = tail;
        swarm.start_all();
        ASSERT_TRUE(swarm.finish());
        ASSERT_TRUE(swarm[0].error);
        EXPECT_THROW(std::rethrow_exception(swarm[0].error), Error);
    }
}

// ---- what members say of their state

class StateOffers : public testing::Test {
  protected:
    StateOffers() { settings_.run = "test"; }
    Join join(std::uint8_t number, std::size_t state, bool counts) const {
        Join join;
        join.peer = test_peer(number);
        join.weight = 1;
        join.elements = 10000;
        join.state_elements = state;
        join.state_counts = counts;
        join.codec = "fp32";
        join.signed_bytes = sign_join(join, "test", nullptr);
        return join;
    }
    Join read(const Join& join) const {
        return check_join(sign_join(join, "test", nullptr), JoinLimits(settings_));
    }
    RoundPlan plan_of(const std::vector<Join>& joins) const {
        const std::string begin = make_begin(joins[0].peer, 1, joins, 4096, nullptr);
        return read_begin(begin, joins[0], JoinLimits(settings_), format_, 64);
    }
    AveragerSettings settings_;
    compress::VectorFormat format_{"fp32", "", 0};
};

TEST_F(StateOffers, are_shorter_than_the_vector) {
    for (const std::size_t good : {std::size_t{0}, std::size_t{1}, std::size_t{9999}}) {
        EXPECT_EQ(read(join(1, good, good > 0)).state_elements, good);
        EXPECT_EQ(read(join(1, good, good > 0)).state_counts, good > 0);
        EXPECT_FALSE(read(join(1, good, false)).state_counts);
    }
    for (const std::size_t bad : {std::size_t{10000}, std::size_t{10001}, ~std::size_t{0}})
        EXPECT_THROW(read(join(1, bad, true)), Error) << bad;
    EXPECT_THROW(read(join(1, 0, true)), Error);
    Join helper = join(1, 0, false);
    helper.role = Role::auxiliary;
    helper.weight = 0;
    helper.elements = 0;
    EXPECT_EQ(read(helper).state_elements, 0U);
    helper.state_elements = 1;
    EXPECT_THROW(read(helper), Error);
}

TEST_F(StateOffers, are_equally_long) {
    EXPECT_EQ(plan_of({join(0, 4000, true), join(1, 4000, false)}).state_begin, 6000U);
    EXPECT_THROW(plan_of({join(0, 4000, true), join(1, 4001, true)}), Error);
    EXPECT_THROW(plan_of({join(0, 4000, true), join(1, 0, false)}), Error);
    EXPECT_EQ(plan_of({join(0, 0, false), join(1, 0, false)}).state_begin, 10000U);
}

// ---- the vector of a peer that averages in groups

TEST(GroupVector, without_samples_has_zeros_for_a_gradient_and_its_parameters) {
    sim::Simulation simulation(1);
    sim::QuadraticSettings settings;
    settings.width = 5;
    const auto violations = std::make_shared<std::vector<std::string>>();
    sim::QuadraticCompute inner(test_peer(1), simulation.clock(), Random(1), std::make_shared<sim::Ledger>(),
                                violations, settings);
    GroupCompute compute(inner);
    const auto contribution = [&] {
        std::vector<float> seen;
        asio::co_spawn(
            simulation.executor(), compute.contribution(),
            [&seen](std::exception_ptr, std::span<const float> c) { seen.assign(c.begin(), c.end()); });
        simulation.run_for(std::chrono::seconds(1));
        return seen;
    };
    const auto gradient_is_zero = [](const std::vector<float>& seen) {
        return std::all_of(seen.begin(), seen.begin() + 5, [](float f) { return f == 0; });
    };
    const auto work = [&] {
        asio::co_spawn(simulation.executor(), compute.micro_batch(), [](std::exception_ptr, auto) {});
        simulation.run_for(std::chrono::seconds(1));
    };
    const std::vector<float> nothing = contribution();
    ASSERT_EQ(nothing.size(), 10U);
    EXPECT_TRUE(gradient_is_zero(nothing));
    EXPECT_TRUE(std::equal(nothing.begin() + 5, nothing.end(), inner.parameters.begin()));
    work();
    EXPECT_FALSE(gradient_is_zero(contribution()));
    compute.renumber(Step{1});  // what it has computed counts for the step that it goes to
    EXPECT_FALSE(gradient_is_zero(contribution()));
    compute.discard();
    EXPECT_TRUE(gradient_is_zero(contribution()));
    work();
    const std::vector<float> average(10, 0.25F);
    asio::co_spawn(simulation.executor(), compute.apply(Step{1}, average), [](std::exception_ptr, bool) {});
    simulation.run_for(std::chrono::seconds(1));
    EXPECT_TRUE(gradient_is_zero(contribution()));
    EXPECT_TRUE(violations->empty());
}

}  // namespace
}  // namespace shoal::collective
