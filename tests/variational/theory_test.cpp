// Parameters from theory: the formulas, and what they promise.
#include "shoal/variational/theory.h"

#include "variational/small_problems.h"

#include <cmath>
#include <gtest/gtest.h>

#include "shoal/base/error.h"

namespace shoal::variational {
namespace {

Quality rand_k(double density) {
    Quality quality;
    quality.unbiased = true;
    quality.variance_factor = 1 / density;
    quality.density = density;
    return quality;
}

Quality exact() {
    Quality quality = rand_k(1);
    quality.contractive = true;
    quality.contraction = 1;
    return quality;
}

Quality top_k(double density) {
    Quality quality;
    quality.contractive = true;
    quality.contraction = 1 / density;
    quality.density = density;
    return quality;
}

Setting ten_devices() {
    Setting setting;
    setting.constants.lipschitz = 0.7;
    setting.constants.device_lipschitz = 1;
    setting.constants.component_lipschitz = 2;
    setting.devices = setting.senders = 10;
    setting.device = rand_k(0.3);
    setting.server = exact();
    return setting;
}

TEST(Theory, the_noise_of_messages_is_that_of_the_notes) {
    Setting setting = ten_devices();
    EXPECT_NEAR(noise_bound(setting), 0.49 + (1 / 0.3 - 1) / 10, 1e-12);
    setting.device = exact();
    EXPECT_NEAR(noise_bound(setting), 0.49, 1e-12);  // nothing is lost
    setting.server = rand_k(0.5);
    EXPECT_NEAR(noise_bound(setting), 2 * 0.49, 1e-12);
}

TEST(Theory, batches_and_absent_devices_add_noise_and_vanish_at_their_ends) {
    Setting setting = ten_devices();
    const double whole = noise_bound(setting);
    setting.components = setting.batch = 8;
    EXPECT_DOUBLE_EQ(noise_bound(setting), whole);
    setting.batch = 7;
    EXPECT_NEAR(noise_bound(setting), 0.49 + 4 * (1 / 0.3 - 1 + 1.0 / 49) / 10, 1e-12);
    setting.batch = 1;
    EXPECT_NEAR(noise_bound(setting), 0.49 + 4 * (1 / 0.3 - 1 + 1) / 10, 1e-12);
    setting.batch = 8;
    setting.senders = 5;
    EXPECT_NEAR(noise_bound(setting), 0.49 + (1 / 0.3 - 1) / 5 + 5.0 / 45, 1e-12);
    setting.senders = 1;
    EXPECT_NEAR(noise_bound(setting), 0.49 + (1 / 0.3 - 1) + 1, 1e-12);
}

TEST(Theory, a_refresh_costs_no_more_than_the_messages_between_two) {
    Setting setting = ten_devices();
    EXPECT_DOUBLE_EQ(refresh_probability(setting), 0.3);
    setting.components = 100;
    setting.batch = 10;
    EXPECT_DOUBLE_EQ(refresh_probability(setting), 0.1);
    setting.senders = 5;
    EXPECT_DOUBLE_EQ(refresh_probability(setting), 0.05);
    setting = ten_devices();
    setting.device = exact();
    EXPECT_DOUBLE_EQ(refresh_probability(setting), 0.5);  // tau must be above 0
}

TEST(Theory, masha1_takes_the_least_of_three_steps) {
    Setting setting = ten_devices();
    const double by_noise = std::sqrt(0.3) / (2 * std::sqrt(noise_bound(setting)));
    EXPECT_DOUBLE_EQ(masha1_step(setting, 0.3), by_noise);
    setting.constants.monotonicity = 0.3 / (2 * by_noise);  // the bound at which the second takes over
    EXPECT_DOUBLE_EQ(masha1_step(setting, 0.3), by_noise);
    setting.constants.monotonicity *= 2;
    EXPECT_DOUBLE_EQ(masha1_step(setting, 0.3), by_noise / 2);
    EXPECT_DOUBLE_EQ(masha1_step(setting, 0.9), 0.1 / setting.constants.monotonicity);  // the third
}

TEST(Theory, of_the_instance_in_the_notes_is_what_they_say) {
    Setting setting = ten_devices();
    setting.constants.lipschitz = 1;  // by which they mean the largest of all
    EXPECT_NEAR(masha1_step(setting, 0.3), 0.247, 0.0005);
}

TEST(Theory, a_compressor_of_the_wrong_kind_has_no_step) {
    Setting setting = ten_devices();
    EXPECT_THROW(masha2_step(setting, 0.3), Error);
    setting.device = top_k(0.3);
    EXPECT_THROW(masha1_step(setting, 0.3), Error);
    EXPECT_NEAR(masha2_step(setting, 0.3), std::sqrt(0.3) * 0.3 / 4, 1e-12);
    setting.senders = 5;
    EXPECT_NEAR(masha2_step(setting, 0.3), std::sqrt(0.3) * 0.3 / 8, 1e-12);
}

TEST(Theory, methods_without_a_guarantee_for_merely_monotone_problems_ask_for_a_step) {
    Setting setting = ten_devices();
    for (const auto step : {quantised_step, error_feedback_step, local_step})
        EXPECT_THROW(step(setting), Error);
    EXPECT_DOUBLE_EQ(extragradient_step(setting), 1 / 1.4);
    setting.constants.monotonicity = 0.1;
    EXPECT_DOUBLE_EQ(quantised_step(setting), 0.1 / noise_bound(setting));
    EXPECT_DOUBLE_EQ(local_step(setting), 0.1);
    setting.local_steps = 5;
    EXPECT_DOUBLE_EQ(local_step(setting), 0.02);
    setting.device = top_k(0.5);
    EXPECT_DOUBLE_EQ(error_feedback_step(setting), 0.05);
}

TEST(Theory, the_bound_of_masha1_holds_in_the_mean_over_twenty_seeds) {
    const Bilinear problem = small_bilinear();
    constexpr std::uint64_t kSeeds = 20, kIterations = 400;
    StopRule rule;
    rule.iterations = kIterations;
    rule.every = 50;
    std::vector<double> mean;
    double step = 0;
    for (std::uint64_t seed = 1; seed <= kSeeds; ++seed) {
        MethodSettings settings = settings_of("masha1", "rand_k:0.3");
        settings.seed = seed;
        const Trajectory trajectory =
            run_in_process(problem, settings, rule, distance_to(*problem.solution(), problem.start()));
        step = trajectory.step_size;
        mean.resize(trajectory.way.size());
        for (std::size_t i = 0; i < mean.size(); ++i) mean[i] += trajectory.way[i].error / kSeeds;
    }
    for (std::size_t i = 0; i < mean.size(); ++i)
        EXPECT_LE(mean[i], masha1_bound(step, 0.1, 50 * i)) << "after " << 50 * i << " iterations";
    EXPECT_LT(mean.back(), 1e-2);  // and something has happened
}

}  // namespace
}  // namespace shoal::variational
