// Rounds in which small tensors travel in one codec and large ones in another.
#include "collective/averager_harness.h"

#include <gtest/gtest.h>

#include "shoal/collective/round_plan.h"
#include "shoal/compress/vector_codec.h"

namespace shoal::collective {
namespace {

SwarmSettings mixed_settings(const std::string& codec, const std::string& small_codec,
                             std::size_t chunk_elements = 4096) {
    SwarmSettings settings;
    settings.codec = codec;
    settings.small_codec = small_codec;
    settings.small_below = 1000;
    settings.tensors = {17, 30001, 64, 64, 12289, 999, 1000, 1, 9000, 8191, 3};
    settings.elements = 0;
    for (const std::size_t tensor : settings.tensors) settings.elements += tensor;
    settings.chunk_elements = chunk_elements;
    return settings;
}

compress::VectorCodec vector_codec(const SwarmSettings& settings) {
    const compress::VectorFormat format(settings.codec, settings.small_codec, settings.small_below);
    return compress::VectorCodec(format, format.pieces(settings.tensors, settings.elements),
                                 settings.elements);
}

std::vector<float> coded(const compress::VectorCodec& codec, const std::vector<float>& values) {
    Bytes encoded(codec.encoded_size(0, values.size()));
    codec.encode(0, values, encoded);
    std::vector<float> decoded(values.size());
    codec.decode(0, encoded, decoded);
    return decoded;
}

/// What comes out of a round, written down plainly: without shares and chunks.
std::vector<float> plain_average(AveragerSwarm& swarm, const compress::VectorCodec& codec,
                                 const std::vector<Contributor>& contributors) {
    double weights = 0;
    for (const Contributor& c : contributors) weights += c.weight;
    std::vector<float> sum(codec.elements(), 0.0F);
    for (const Contributor& c : contributors) {
        if (c.role == Role::auxiliary || c.weight == 0) continue;
        const std::vector<float> decoded = coded(codec, swarm.find(c.peer).contribution);
        const auto scale = static_cast<float>(c.weight / weights);
        for (std::size_t i = 0; i < sum.size(); ++i) {
            const float product = scale * decoded[i];
            sum[i] = sum[i] + product;
        }
    }
    return coded(codec, sum);
}

void expect_plain_average_everywhere(AveragerSwarm& swarm, const SwarmSettings& settings) {
    for (std::size_t i = 0; i < swarm.size(); ++i) {
        ASSERT_TRUE(swarm[i].verdict);
        ASSERT_EQ(swarm[i].verdict->outcome, Verdict::Outcome::averaged) << swarm[i].verdict->cause;
    }
    const auto plain = plain_average(swarm, vector_codec(settings), swarm[0].verdict->contributors);
    for (std::size_t i = 0; i < swarm.size(); ++i) {
        if (swarm[i].role == Role::auxiliary) continue;
        EXPECT_EQ(fingerprint(as_bytes(std::span<const float>(swarm[i].result))),
                  fingerprint(as_bytes(std::span<const float>(plain))))
            << i;
    }
}

TEST(MixedCodecs, all_members_end_with_the_bits_of_the_plain_formula) {
    using Codecs = std::pair<std::string, std::string>;
    for (const auto& [codec, small] : {Codecs("blockwise8", "fp16"), Codecs("uniform8", "fp32"),
                                       Codecs("blockwise4", "bf16"), Codecs("quantile8", "blockwise8")}) {
        for (const std::size_t chunk : {1024, 4096, 65536}) {
            SCOPED_TRACE(codec + " " + small + " " + std::to_string(chunk));
            const SwarmSettings settings = mixed_settings(codec, small, chunk);
            AveragerSwarm swarm(21, settings);
            for (const double weight : {1.0, 7.0, 0.5, 100.0, 0.0})
                swarm.add(Role::full, weight, 1e6 * weight);
            swarm.start_all();
            ASSERT_TRUE(swarm.finish());
            expect_plain_average_everywhere(swarm, settings);
        }
    }
}

TEST(MixedCodecs, do_not_depend_on_who_owns_what) {
    const SwarmSettings settings = mixed_settings("blockwise8", "fp16");
    for (const double bandwidth : {1e5, 1e6, 3e7}) {
        SCOPED_TRACE(bandwidth);
        AveragerSwarm swarm(22, settings);
        swarm.add(Role::full, 1, bandwidth);
        swarm.add(Role::full, 2, 1e6);
        swarm.add(Role::full, 3, 2e6);
        swarm.start_all();
        ASSERT_TRUE(swarm.finish());
        expect_plain_average_everywhere(swarm, settings);
    }
}

TEST(MixedCodecs, auxiliary_peers_learn_from_the_others_which_piece_travels_how) {
    const SwarmSettings settings = mixed_settings("blockwise8", "fp16");
    for (std::uint64_t seed = 23; seed < 33; ++seed) {  // who leads is another one each time
        SCOPED_TRACE(seed);
        AveragerSwarm swarm(seed, settings);
        swarm.add(Role::client, 1);
        swarm.add(Role::auxiliary);
        swarm.add(Role::client, 2);
        swarm.add(Role::auxiliary);
        swarm.start_all();
        ASSERT_TRUE(swarm.finish());
        expect_plain_average_everywhere(swarm, settings);
        const auto vector = static_cast<double>(vector_codec(settings).encoded_size(0, settings.elements));
        EXPECT_NEAR(static_cast<double>(swarm[0].verdict->report.bytes_sent), vector, 64);
        EXPECT_NEAR(static_cast<double>(swarm[0].verdict->report.bytes_received), vector, 64);
    }
}

TEST(MixedCodecs, tensors_of_other_sizes_are_refused) {
    AveragerSwarm swarm(34, mixed_settings("blockwise8", "fp16"));
    for (int i = 0; i < 4; ++i) swarm.add();
    swarm[3].tensors[0] += 1;
    swarm[3].tensors[1] -= 1;
    swarm.start_all();
    ASSERT_TRUE(swarm.finish());
    std::size_t averaged = 0;
    for (std::size_t i = 0; i < 4; ++i)
        if (swarm[i].verdict && swarm[i].verdict->outcome == Verdict::Outcome::averaged) ++averaged;
    EXPECT_EQ(averaged, 3u);
    ASSERT_TRUE(swarm[3].verdict);
    EXPECT_NE(swarm[3].verdict->outcome, Verdict::Outcome::averaged);
}

TEST(MixedCodecs, tensors_that_do_not_add_up_are_the_callers_fault) {
    AveragerSwarm swarm(35, mixed_settings("blockwise8", "fp16"));
    swarm.add();
    swarm[0].tensors[0] += 1;
    swarm.start_all();
    ASSERT_TRUE(swarm.finish());
    ASSERT_TRUE(swarm[0].error);
    EXPECT_THROW(std::rethrow_exception(swarm[0].error), Error);
}

TEST(MixedCodecs, numbers_that_are_not_finite_are_found_in_either_codec) {
    const SwarmSettings settings = mixed_settings("blockwise8", "fp16");
    for (const std::size_t place : {std::size_t{3}, std::size_t{20000}, settings.elements - 1}) {
        SCOPED_TRACE(place);
        AveragerSwarm swarm(36, settings);
        for (int i = 0; i < 3; ++i) swarm.add();
        swarm[1].contribution[place] = std::numeric_limits<float>::quiet_NaN();
        swarm.start_all();
        ASSERT_TRUE(swarm.finish());
        for (std::size_t i = 0; i < 3; ++i) {
            ASSERT_TRUE(swarm[i].verdict);
            EXPECT_EQ(swarm[i].verdict->outcome, Verdict::Outcome::failed);
            EXPECT_EQ(swarm[i].verdict->lost, std::vector<PeerId>{swarm[1].id});
        }
    }
}

// ---- what members say of their pieces

class Pieces : public testing::Test {
  protected:
    Pieces() { settings_.run = "test"; }

    Join join(std::uint8_t number, compress::Pieces pieces, std::size_t elements = 10000) const {
        Join join;
        join.peer = test_peer(number);
        join.weight = 1;
        join.elements = elements;
        join.codec = format_.name();
        join.pieces = std::move(pieces);
        join.signed_bytes = sign_join(join, "test", nullptr);
        return join;
    }
    RoundPlan plan_of(const std::vector<Join>& joins) const {
        const std::string begin = make_begin(joins[0].peer, 1, joins, usable_chunk(4096, format_), nullptr);
        return read_begin(begin, joins[0], JoinLimits(settings_), format_, 64);
    }

    AveragerSettings settings_;
    compress::VectorFormat format_{"blockwise8", "fp16", 1000};
};

TEST_F(Pieces, are_taken_only_where_they_cover_the_vector) {
    const JoinLimits limits(settings_);
    const compress::Pieces good = {0, 9000, 1000};
    EXPECT_EQ(check_join(join(0, good).signed_bytes, limits).pieces, good);
    EXPECT_TRUE(check_join(join(0, {}).signed_bytes, limits).pieces.empty());  // may be right for one codec
    for (const compress::Pieces& bad :
         {compress::Pieces{0, 9000, 999}, compress::Pieces{0, 9000, 1001}, compress::Pieces{5, 0, 9995},
          compress::Pieces{0xFFFFFFFF, 10001}, compress::Pieces(compress::kMaximumPieces + 1, 1)})
        EXPECT_THROW(check_join(join(0, bad).signed_bytes, limits), Error);
    Join helper = join(0, {1});
    helper.role = Role::auxiliary;
    helper.elements = 0;
    helper.weight = 0;
    EXPECT_THROW(check_join(sign_join(helper, "test", nullptr), limits), Error);
}

TEST_F(Pieces, are_the_same_for_all_members) {
    EXPECT_EQ(plan_of({join(0, {0, 9000, 1000}), join(1, {0, 9000, 1000})}).codec->elements(), 10000u);
    EXPECT_THROW(plan_of({join(0, {0, 9000, 1000}), join(1, {0, 9001, 999})}), Error);
    EXPECT_THROW(plan_of({join(0, {0, 9000, 1000}), join(1, {})}), Error);
    EXPECT_THROW(plan_of({join(0, {}), join(1, {})}), Error);
}

TEST_F(Pieces, of_the_largest_group_fit_into_one_message) {
    // Tensors of a billion elements in all, small and large in turns.
    compress::Pieces pieces;
    std::size_t elements = 0;
    for (std::size_t i = 0; i < compress::kMaximumPieces; ++i) {
        pieces.push_back(4194304 - 1000 * (i % 2));
        elements += pieces.back();
    }
    std::vector<Join> joins;
    for (std::uint8_t i = 0; i < 64; ++i) {
        joins.push_back(join(i, pieces, elements));
        joins.back().last_members.assign(64, 0);
    }
    const std::string begin = make_begin(joins[0].peer, 1, joins, 65536, nullptr);
    EXPECT_LT(begin.size(), net::kMaximumControlBytes * 3 / 4);
}

TEST_F(Pieces, end_chunks_and_shares_at_cuts) {
    for (const std::size_t first : {1, 777, 4096, 5000}) {
        const auto rest = static_cast<std::uint32_t>(100000 - 2 * first);
        const compress::Pieces pieces = {static_cast<std::uint32_t>(first), rest,
                                         static_cast<std::uint32_t>(first)};
        const RoundPlan plan =
            plan_of({join(0, pieces, 100000), join(1, pieces, 100000), join(2, pieces, 100000)});
        std::size_t next = 0;
        for (std::size_t owner = 0; owner < 3; ++owner) {
            EXPECT_EQ(plan.shares[owner].begin, next);
            for (std::size_t index = 0; index < plan.chunks_of(owner); ++index) {
                const Share chunk = plan.chunk(owner, index);
                EXPECT_EQ(chunk.begin, next);
                EXPECT_FALSE(chunk.empty());
                EXPECT_EQ(plan.codec->cut_before(chunk.end), chunk.end);
                EXPECT_LT(chunk.size(), plan.chunk_elements + format_.granularity());
                next = chunk.end;
            }
            EXPECT_EQ(plan.shares[owner].end, next);
        }
        EXPECT_EQ(next, 100000u);
    }
}

}  // namespace
}  // namespace shoal::collective
