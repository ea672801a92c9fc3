// Averages over devices: shares, exactness, what error feedback remembers, and what cannot be averaged.
#include "shoal/variational/averaging.h"

#include "variational/small_problems.h"

#include <gtest/gtest.h>
#include <limits>
#include <set>

#include "shoal/base/error.h"
#include "shoal/base/random.h"
#include "shoal/variational/shared_randomness.h"

namespace shoal::variational {
namespace {

std::vector<Vector> random_vectors(std::size_t count, std::size_t dimension, Random& random) {
    std::vector<Vector> vectors(count, Vector(dimension));
    for (Vector& vector : vectors)
        for (double& value : vector) value = random.normal();
    return vectors;
}

AveragingSettings with_codecs(const std::string& device, const std::string& server, bool feedback = false) {
    AveragingSettings settings;
    settings.device_codec = device;
    settings.server_codec = server;
    settings.error_feedback = feedback;
    return settings;
}

TEST(Shares, cover_all_coordinates_in_order_and_differ_by_one_at_most) {
    for (const std::size_t coordinates : {0, 1, 9, 10, 11, 200}) {
        const std::vector<Share> shares = equal_shares(coordinates, 10);
        ASSERT_EQ(shares.size(), 10U);
        std::size_t place = 0;
        for (const Share& share : shares) {
            EXPECT_EQ(share.begin, place);
            EXPECT_LE(shares.front().size() - share.size(), 1U);
            place = share.end;
        }
        EXPECT_EQ(place, coordinates);
    }
    EXPECT_THROW(equal_shares(3, 0), Error);
}

TEST(Averaging, of_doubles_is_exact_to_rounding_whoever_answers) {
    Random random(1);
    LocalExchange exchange(3);
    Traffic traffic;
    Averaging averaging(exchange, 7, AveragingSettings(), traffic);
    const std::vector<Vector> values = random_vectors(3, 7, random);
    for (const std::vector<std::size_t>& senders : {std::vector<std::size_t>{0, 1, 2}, {0, 2}, {1}}) {
        Vector mean(7), wanted(7, 0.0);
        for (const std::size_t sender : senders)
            add_scaled(1 / static_cast<double>(senders.size()), values[sender], wanted);
        run_now(averaging.average(senders, values, mean));
        EXPECT_LT(squared_distance(mean, wanted), 1e-30);
    }
    EXPECT_EQ(traffic.bytes_up, (3U + 2 + 1) * 7 * 8);
    EXPECT_EQ(traffic.bytes_down, 3U * 3 * 7 * 8);
}

TEST(Averaging, of_compressed_vectors_is_unbiased) {
    Random random(2);
    LocalExchange exchange(3);
    Traffic traffic;
    Averaging averaging(exchange, 12, with_codecs("rand_k:0.5", "rand_k:0.5"), traffic);
    const std::vector<Vector> values = random_vectors(3, 12, random);
    Vector wanted(12, 0.0), sum(12, 0.0), mean(12);
    for (const Vector& value : values) add_scaled(1.0 / 3, value, wanted);
    constexpr int kTimes = 20'000;
    for (int i = 0; i < kTimes; ++i) {
        run_now(averaging.average({0, 1, 2}, values, mean));
        add_scaled(1.0 / kTimes, mean, sum);
    }
    // Five deviations of such a mean: a message has a standard deviation of about 3 here.
    for (std::size_t i = 0; i < 12; ++i) EXPECT_NEAR(sum[i], wanted[i], 0.1);
}

TEST(Averaging, with_error_feedback_loses_nothing_in_the_long_run) {
    // What arrives in all is what was sent in all, but for what both sides still remember; and that stays
    // bounded.
    Random random(3);
    LocalExchange exchange(3);
    Traffic traffic;
    Averaging averaging(exchange, 12, with_codecs("top_k:0.25", "top_k:0.25", true), traffic);
    Vector sent(12, 0.0), arrived(12, 0.0), mean(12);
    std::vector<double> missing;
    for (int i = 0; i < 2000; ++i) {
        const std::vector<Vector> values = random_vectors(3, 12, random);
        run_now(averaging.average({0, 1, 2}, values, mean));
        for (const Vector& value : values) add_scaled(1.0 / 3, value, sent);
        add_scaled(1, mean, arrived);
        missing.push_back(std::sqrt(squared_distance(sent, arrived)));
    }
    EXPECT_GT(missing[10], 0.1);  // something is left out
    for (const double one : missing) EXPECT_LT(one, 100);
    // Without feedback it is lost for good, and adds up.
    Averaging forgetful(exchange, 12, with_codecs("top_k:0.25", "top_k:0.25"), traffic);
    const std::vector<Vector> same = random_vectors(3, 12, random);
    Vector remembered(12, 0.0), forgotten(12, 0.0), wanted(12, 0.0);
    for (int i = 0; i < 2000; ++i) {
        run_now(averaging.average({0, 1, 2}, same, mean));
        add_scaled(1.0 / 2000, mean, remembered);
        run_now(forgetful.average({0, 1, 2}, same, mean));
        add_scaled(1.0 / 2000, mean, forgotten);
    }
    for (const Vector& value : same) add_scaled(1.0 / 3, value, wanted);
    EXPECT_LT(squared_distance(remembered, wanted), 0.01 * squared_distance(forgotten, wanted));
}

TEST(Averaging, knows_the_quality_of_its_messages) {
    LocalExchange exchange(4);
    Traffic traffic;
    const Averaging averaging(exchange, 40, with_codecs("rand_k:0.3", "top_k:0.5"), traffic);
    const Quality device = averaging.device_quality(), server = averaging.server_quality();
    EXPECT_TRUE(device.unbiased);
    EXPECT_NEAR(device.variance_factor, 1 / 0.3, 1e-9);
    EXPECT_NEAR(device.density, 0.3, 1e-12);
    EXPECT_TRUE(server.contractive);
    EXPECT_FALSE(server.unbiased);
    EXPECT_NEAR(server.contraction, 2, 1e-9);
    // Shares of 3 and 2 coordinates keep one each: the worst share counts, and the whole for the density.
    const Averaging small(exchange, 10, with_codecs("rand_k:0.3", kExact), traffic);
    EXPECT_NEAR(small.device_quality().variance_factor, 3, 1e-9);
    EXPECT_NEAR(small.device_quality().density, 0.4, 1e-12);
    EXPECT_TRUE(small.server_quality().unbiased && small.server_quality().contractive);
}

TEST(Averaging, refuses_codecs_it_does_not_know_and_numbers_that_are_none) {
    LocalExchange exchange(2);
    Traffic traffic;
    EXPECT_THROW(Averaging(exchange, 4, with_codecs("zip", kExact), traffic), Error);
    Averaging averaging(exchange, 4, AveragingSettings(), traffic);
    std::vector<Vector> values(2, Vector(4, 1.0));
    values[1][2] = std::numeric_limits<double>::infinity();
    Vector mean(4);
    EXPECT_THROW(run_now(averaging.average({0, 1}, values, mean)), Error);
    EXPECT_NO_THROW(run_now(averaging.average({0}, values, mean)));
}

TEST(Compression, refuses_bytes_that_nobody_sends) {
    const std::vector<Share> shares = equal_shares(8, 1);
    const Compression exact(kExact, 0, 1, shares), floats("fp32", 0, 1, shares);
    Vector values(8, 1.0);
    for (const Compression* each : {&exact, &floats}) {
        Bytes encoded = each->encode(0, values, 0);
        Vector decoded(8);
        each->decode(0, encoded, decoded);
        EXPECT_EQ(decoded, values);
        Bytes longer = encoded, not_finite(encoded.size(), 0xff);
        longer.push_back(0);
        for (const Bytes& bad : {longer, Bytes(), not_finite}) {
            try {
                each->decode(0, bad, decoded);
                ADD_FAILURE() << bad.size();
            } catch (const Error& error) {
                EXPECT_EQ(error.kind(), ErrorKind::protocol_violation);
            }
        }
    }
}

TEST(SharedRandomness, gives_every_purpose_and_place_a_seed_of_its_own) {
    std::set<std::uint64_t> seen;
    for (const std::uint64_t seed : {0, 1})
        for (const Purpose purpose : {Purpose::refresh, Purpose::batch, Purpose::device_codec})
            for (std::uint64_t a = 0; a < 10; ++a)
                for (std::uint64_t b = 0; b < 10; ++b) seen.insert(derived_seed(seed, purpose, {a, b}));
    EXPECT_EQ(seen.size(), 600U);
    EXPECT_EQ(derived_seed(1, Purpose::batch, {2, 3}), derived_seed(1, Purpose::batch, {2, 3}));
    EXPECT_NE(derived_seed(1, Purpose::batch, {2}), derived_seed(1, Purpose::batch, {2, 0}));
}

}  // namespace
}  // namespace shoal::variational
