#include "shoal/optim/schedule.h"

#include <cmath>
#include <gtest/gtest.h>
#include <limits>

#include "shoal/base/error.h"
#include "shoal/optim/exact_math.h"

namespace shoal::optim {
namespace {

double rate_at(const ScheduleSettings& settings, std::int64_t step) {
    check(settings);
    return learning_rate(settings, static_cast<Step>(step));
}

ScheduleSettings settings_of(const std::string& kind) {
    ScheduleSettings settings;
    settings.kind = kind;
    settings.learning_rate = 1;
    settings.start_learning_rate = 0.25;
    settings.final_learning_rate = 0.125;
    settings.warmup_steps = 100;
    settings.total_steps = 1100;
    return settings;
}

class EveryKind : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Kinds, EveryKind, testing::Values("constant", "linear", "cosine"));

TEST_P(EveryKind, warms_up_in_a_straight_line) {
    const ScheduleSettings settings = settings_of(GetParam());
    EXPECT_EQ(rate_at(settings, -5), 0.25);
    EXPECT_EQ(rate_at(settings, 0), 0.25);
    EXPECT_EQ(rate_at(settings, 50), 0.625);
    EXPECT_LT(rate_at(settings, 99), 1);
    EXPECT_EQ(rate_at(settings, 100), 1);
}

TEST_P(EveryKind, starts_at_the_peak_without_a_warm_up) {
    ScheduleSettings settings = settings_of(GetParam());
    settings.warmup_steps = 0;
    EXPECT_EQ(rate_at(settings, 0), 1);
}

TEST_P(EveryKind, never_rises_after_the_warm_up) {
    const ScheduleSettings settings = settings_of(GetParam());
    for (std::int64_t step = 100; step < 1200; ++step)
        EXPECT_LE(rate_at(settings, step + 1), rate_at(settings, step));
}

TEST_P(EveryKind, may_consist_of_the_warm_up_alone) {
    ScheduleSettings settings = settings_of(GetParam());
    settings.total_steps = settings.warmup_steps;
    EXPECT_LT(rate_at(settings, 99), 1);
    EXPECT_EQ(rate_at(settings, 100), settings.kind == "constant" ? 1 : 0.125);
}

TEST(Schedule, constant_stays_at_the_peak) {
    EXPECT_EQ(rate_at(settings_of("constant"), 1'000'000'000'000), 1);
}

TEST(Schedule, linear_falls_in_a_straight_line) {
    const ScheduleSettings settings = settings_of("linear");
    EXPECT_DOUBLE_EQ(rate_at(settings, 600), (1 + 0.125) / 2);
    EXPECT_GT(rate_at(settings, 1099), 0.125);
    EXPECT_EQ(rate_at(settings, 1100), 0.125);
    EXPECT_EQ(rate_at(settings, 1'000'000'000'000), 0.125);
}

TEST(Schedule, cosine_falls_by_half_a_wave) {
    const ScheduleSettings settings = settings_of("cosine");
    EXPECT_DOUBLE_EQ(rate_at(settings, 600), (1 + 0.125) / 2);
    EXPECT_NEAR(rate_at(settings, 350), 0.125 + 0.875 * (0.5 + std::sqrt(0.125)), 1e-14);
    EXPECT_GT(rate_at(settings, 1099), 0.125);
    EXPECT_EQ(rate_at(settings, 1100), 0.125);
}

TEST(Schedule, refuses_settings_that_make_no_sense) {
    const auto refused = [](auto change) {
        ScheduleSettings settings = settings_of("linear");
        change(settings);
        try {
            check(settings);
        } catch (const Error& error) {
            return error.kind() == ErrorKind::invalid_argument;
        }
        return false;
    };
    EXPECT_TRUE(refused([](ScheduleSettings& s) { s.kind = "quadratic"; }));
    EXPECT_TRUE(refused([](ScheduleSettings& s) { s.learning_rate = -1e-9; }));
    EXPECT_TRUE(refused([](ScheduleSettings& s) { s.learning_rate = std::nan(""); }));
    EXPECT_TRUE(refused(
        [](ScheduleSettings& s) { s.start_learning_rate = std::numeric_limits<double>::infinity(); }));
    EXPECT_TRUE(refused([](ScheduleSettings& s) { s.final_learning_rate = -1; }));
    EXPECT_TRUE(refused([](ScheduleSettings& s) { s.warmup_steps = -1; }));
    EXPECT_TRUE(refused([](ScheduleSettings& s) { s.total_steps = 0; }));
    EXPECT_TRUE(refused([](ScheduleSettings& s) { s.total_steps = s.warmup_steps - 1; }));
    EXPECT_FALSE(refused([](ScheduleSettings& s) { s.total_steps = s.warmup_steps; }));
    EXPECT_FALSE(refused([](ScheduleSettings& s) { s.kind = "constant", s.total_steps = 0; }));
}

TEST(ExactMath, powers_agree_with_the_library) {
    EXPECT_EQ(integer_power(0.9, 0), 1);
    EXPECT_EQ(integer_power(0, 0), 1);
    EXPECT_EQ(integer_power(0.9, 1), 0.9);
    for (const double base : {0.0, 0.5, 0.9, 0.999, 0.999999}) {
        for (const std::uint64_t exponent : {2ULL, 3ULL, 10ULL, 1000ULL, 123457ULL}) {
            const double expected = std::pow(base, static_cast<double>(exponent));
            EXPECT_NEAR(integer_power(base, exponent), expected, 1e-11 * expected);
        }
    }
    EXPECT_EQ(integer_power(0.999, std::numeric_limits<std::uint64_t>::max()), 0);
}

TEST(ExactMath, half_cosine_agrees_with_the_library) {
    EXPECT_EQ(half_cosine(0), 1);
    EXPECT_EQ(half_cosine(1), 0);
    EXPECT_NEAR(half_cosine(0.5), 0.5, 1e-15);
    for (int i = 0; i <= 1000; ++i) {
        EXPECT_NEAR(half_cosine(i / 1000.0), (1 + std::cos(std::acos(-1.0) * i / 1000.0)) / 2, 1e-14) << i;
    }
}

}  // namespace
}  // namespace shoal::optim
