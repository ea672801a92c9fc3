// Methods: what they become in special cases, where they stand still, what they send, and what they reach.
#include "shoal/variational/method.h"

#include "variational/small_problems.h"

#include <cmath>
#include <gtest/gtest.h>

#include "shoal/base/error.h"
#include "shoal/variational/masha.h"
#include "shoal/variational/matrix_game.h"

namespace shoal::variational {
namespace {

/// A method and the exchange below it.
struct Alone {
    Alone(const Problem& problem, const MethodSettings& settings, std::size_t owners = 0)
        : exchange(problem.devices(), owners == 0 ? problem.devices() : owners),
          method(make_method(problem, exchange, settings)) {
        run_now(method->start());
    }
    void iterate(int times = 1) {
        for (int i = 0; i < times; ++i) run_now(method->iterate());
    }
    LocalExchange exchange;
    std::unique_ptr<Method> method;
};

/// Of so many values.
std::size_t message_bytes(const std::string& codec, std::size_t values) {
    return compress::make_codec(codec)->encoded_size(values);
}

double relative_distance(const Vector& a, const Vector& b) {
    return std::sqrt(squared_distance(a, b)) / (1 + norm(b));
}

TEST(Reductions, masha_without_compression_from_its_reference_point_is_extragradient) {
    const Bilinear problem = small_bilinear();
    Alone extragradient(problem, settings_of("extragradient", kExact, 0.3));
    for (int k = 0; k < 20; ++k) {
        // z^k = w^k holds at a method's start, so it starts anew at every point of extragradient.
        const Moved from_here(problem, extragradient.method->point());
        extragradient.iterate();
        for (const std::string name : {"masha1", "masha2"}) {
            Alone masha(from_here, settings_of(name, kExact, 0.3));
            masha.iterate();
            EXPECT_LT(relative_distance(masha.method->point(), extragradient.method->point()), 1e-14) << name;
        }
    }
}

TEST(Reductions, both_masha_are_the_same_without_compression) {
    const Bilinear problem = small_bilinear();
    Alone first(problem, settings_of("masha1", kExact, 0.2)),
        second(problem, settings_of("masha2", kExact, 0.2));
    for (int k = 0; k < 200; ++k) {
        first.iterate();
        second.iterate();
        ASSERT_LT(relative_distance(first.method->point(), second.method->point()), 1e-12) << k;
    }
}

TEST(Reductions, quantised_methods_without_compression_are_the_plain_ones) {
    const Bilinear problem = small_bilinear();
    Alone plain(problem, settings_of("extragradient", kExact, 0.2)),
        quantised(problem, settings_of("ceg", kExact, 0.2));
    Alone descent(problem, settings_of("qgd", kExact, 0.05)),
        fed_back(problem, settings_of("error_feedback", kExact, 0.05));
    MethodSettings one_step = settings_of("local_sgda", kExact, 0.05);
    one_step.local_steps = 1;
    Alone local(problem, one_step);
    for (int k = 0; k < 100; ++k) {
        for (Alone* each : {&plain, &quantised, &descent, &fed_back, &local}) each->iterate();
        ASSERT_LT(relative_distance(plain.method->point(), quantised.method->point()), 1e-12) << k;
        ASSERT_LT(relative_distance(descent.method->point(), fed_back.method->point()), 1e-12) << k;
        ASSERT_LT(relative_distance(descent.method->point(), local.method->point()), 1e-12) << k;
    }
}

TEST(Reductions, a_batch_of_all_components_and_all_devices_is_no_sample) {
    const QuadraticGame problem = small_game();
    for (const std::string_view name : method_names()) {
        const bool biased = name == "masha2" || name == "error_feedback";
        MethodSettings settings = settings_of(std::string(name), biased ? "top_k:0.3" : "rand_k:0.3", 0.01);
        Alone plain(problem, settings);
        settings.batch = 6;
        settings.participants = 4;
        Alone all(problem, settings);
        plain.iterate(30);
        all.iterate(30);
        EXPECT_EQ(all.method->point(), plain.method->point()) << name;
    }
}

TEST(FixedPoints, methods_that_start_at_the_solution_stay_there) {
    const Bilinear problem = small_bilinear();
    const Moved at_solution(problem, *problem.solution());
    for (const std::string name : {"extragradient", "masha1", "masha2", "optimistic_masha"}) {
        const std::string codec = name == "masha2" ? "top_k:0.3" : "rand_k:0.3";
        Alone alone(at_solution, settings_of(name, codec, 0.1));
        alone.iterate(50);
        EXPECT_LT(relative_distance(alone.method->point(), *problem.solution()), 1e-12) << name;
    }
}

TEST(FixedPoints, methods_that_compress_the_operator_leave_the_solution_of_different_devices) {
    const Bilinear problem = small_bilinear();
    const Moved at_solution(problem, *problem.solution());
    for (const std::string name : {"qgd", "ceg", "error_feedback"}) {
        const std::string codec = name == "error_feedback" ? "top_k:0.3" : "rand_k:0.3";
        Alone alone(at_solution, settings_of(name, codec, 0.1));
        alone.iterate(50);
        EXPECT_GT(relative_distance(alone.method->point(), *problem.solution()), 1e-2) << name;
    }
    Alone local(at_solution, settings_of("local_sgda", kExact, 0.1));
    local.iterate(50);
    EXPECT_GT(relative_distance(local.method->point(), *problem.solution()), 1e-3);
}

TEST(FixedPoints, devices_that_are_the_same_let_them_stay) {
    const Bilinear problem = small_bilinear(true);
    const Moved at_solution(problem, *problem.solution());
    for (const std::string name : {"qgd", "ceg", "local_sgda"}) {
        Alone alone(at_solution, settings_of(name, "rand_k:0.3", 0.02));
        alone.iterate(50);
        EXPECT_LT(relative_distance(alone.method->point(), *problem.solution()), 1e-10) << name;
    }
}

TEST(Convergence, masha_reaches_the_solution_far_beyond_the_precision_of_its_messages) {
    const Bilinear problem = small_bilinear();
    EXPECT_TRUE(run_to(problem, settings_of("masha1", "rand_k:0.3", 0.2), 1e-24, 3000).reached);
    EXPECT_TRUE(run_to(problem, settings_of("masha2", "top_k:0.3", 0.2), 1e-24, 3000).reached);
    EXPECT_TRUE(run_to(problem, settings_of("optimistic_masha", "rand_k:0.3", 0.1), 1e-24, 6000).reached);
}

TEST(Convergence, masha_reaches_it_with_the_steps_of_theory) {
    const QuadraticGame problem = small_game();
    EXPECT_TRUE(run_to(problem, settings_of("extragradient"), 1e-20, 2000).reached);
    EXPECT_TRUE(run_to(problem, settings_of("masha1", "rand_k:0.3"), 1e-20, 10000).reached);
    EXPECT_TRUE(run_to(problem, settings_of("masha2", "top_k:0.3"), 1e-20, 40000).reached);
    EXPECT_TRUE(run_to(problem, settings_of("optimistic_masha", "rand_k:0.3"), 1e-20, 20000).reached);
}

TEST(Convergence, batches_and_absent_devices_do_not_keep_it_from_the_solution) {
    const QuadraticGame problem = small_game();
    for (const std::string name : {"masha1", "masha2", "optimistic_masha"}) {
        MethodSettings settings = settings_of(name, name == "masha2" ? "top_k:0.5" : "rand_k:0.5");
        settings.batch = 2;
        EXPECT_TRUE(run_to(problem, settings, 1e-12, 60000).reached) << name << " with batches";
        settings.batch = 0;
        settings.participants = 2;
        EXPECT_TRUE(run_to(problem, settings, 1e-12, 60000).reached) << name << " with two of four devices";
        settings.batch = 2;
        EXPECT_TRUE(run_to(problem, settings, 1e-12, 120000).reached) << name << " with both";
    }
}

TEST(Convergence, the_average_point_of_masha_closes_the_gap_of_a_merely_monotone_game) {
    BurglarSettings burglary;
    burglary.devices = 3;
    burglary.houses = 9;
    const PolicemanAndBurglar problem(burglary);
    StopRule rule;
    rule.iterations = 4000;
    const double at_start = *problem.gap(problem.start());
    const Trajectory trajectory =
        run_in_process(problem, settings_of("masha1", "rand_k:0.5"), rule, gap_of_average(problem));
    EXPECT_LT(trajectory.final_error(), 0.02 * at_start);
    EXPECT_GE(trajectory.final_error(), 0);
    EXPECT_THROW(
        make_method(problem, *std::make_unique<LocalExchange>(3), settings_of("masha2", "top_k:0.5", 0.1)),
        Error);  // it has no proximal step
}

TEST(Traffic, is_counted_from_the_bytes_of_messages_and_refreshes) {
    const Bilinear problem = small_bilinear();  // 4 devices, 24 coordinates: 4 shares of 6
    constexpr std::uint64_t kWhole = 4 * 24 * 8;
    Alone extragradient(problem, settings_of("extragradient", kExact, 0.1));
    extragradient.iterate(10);
    EXPECT_EQ(extragradient.method->traffic().bytes_up, 20 * kWhole);
    EXPECT_EQ(extragradient.method->traffic().bytes_down, 20 * kWhole);
    EXPECT_EQ(extragradient.method->traffic().values_up, 20u * 4 * 24);

    MethodSettings settings = settings_of("masha1", "rand_k:0.5", 0.1);
    Alone masha(problem, settings);
    EXPECT_EQ(masha.method->traffic().bytes_up, kWhole);  // the first reference
    std::uint64_t refreshes = 1;
    Vector reference = dynamic_cast<Masha&>(*masha.method).reference();
    for (int k = 0; k < 100; ++k) {
        masha.iterate();
        const Vector& now = dynamic_cast<Masha&>(*masha.method).reference();
        // The first refresh may move the reference from the start to the start.
        if (now != reference) ++refreshes;
        reference = now;
    }
    const std::size_t message = 4 * message_bytes("rand_k:0.5", 6);
    const Traffic& traffic = masha.method->traffic();
    const std::uint64_t beyond = traffic.bytes_up - 100 * 4 * message;
    EXPECT_EQ(beyond % kWhole, 0u);
    EXPECT_GE(beyond / kWhole, refreshes);
    EXPECT_LE(beyond / kWhole, refreshes + 1);
    EXPECT_EQ(traffic.values_up, 100u * 4 * 4 * 3 + beyond / 8);
    EXPECT_EQ(traffic.bytes_down, 100 * kWhole + beyond);  // answers are exact here
}

TEST(Traffic, answers_can_be_compressed_and_absent_devices_send_nothing) {
    const Bilinear problem = small_bilinear();
    MethodSettings settings = settings_of("qgd", "rand_k:0.5", 0.01);
    settings.server_codec = "rand_k:0.5";
    settings.participants = 1;
    Alone alone(problem, settings);
    alone.iterate(10);
    const std::size_t message = 4 * message_bytes("rand_k:0.5", 6);
    EXPECT_EQ(alone.method->traffic().bytes_up, 10 * message);
    EXPECT_EQ(alone.method->traffic().bytes_down, 10 * 4 * message);
}

TEST(Evaluations, are_one_an_iteration_and_one_a_refresh) {
    const QuadraticGame problem = small_game();
    Alone extragradient(problem, settings_of("extragradient"));
    extragradient.iterate(10);
    EXPECT_DOUBLE_EQ(extragradient.method->evaluations(), 20);
    MethodSettings settings = settings_of("masha1", "rand_k:0.5", 0.01);
    settings.refresh = 1;
    Alone masha(problem, settings);
    masha.iterate(10);
    EXPECT_DOUBLE_EQ(masha.method->evaluations(), 21);
    settings.batch = 3;  // of 6: half at each end of the difference
    Alone with_batches(problem, settings);
    with_batches.iterate(10);
    EXPECT_NEAR(with_batches.method->evaluations(), 21, 1e-9);
}

TEST(Seeds, reproduce_a_run_bit_by_bit_and_others_do_not) {
    const QuadraticGame problem = small_game();
    for (const std::string_view name : method_names()) {
        const bool biased = name == "masha2" || name == "error_feedback";
        MethodSettings settings = settings_of(std::string(name), biased ? "top_k:0.3" : "rand_k:0.3", 0.01);
        settings.batch = 2;
        settings.participants = 3;
        Alone one(problem, settings), same(problem, settings);
        settings.seed = 2;
        Alone other(problem, settings);
        for (Alone* each : {&one, &same, &other}) each->iterate(20);
        EXPECT_EQ(one.method->point(), same.method->point()) << name;
        EXPECT_EQ(one.method->point() == other.method->point(), name == "extragradient") << name;
    }
}

TEST(Permutations, let_devices_send_parts_that_fit_together) {
    // Where all devices are the same, the parts of a permutation add up to the whole: nothing is lost.
    const Bilinear problem = small_bilinear(true);
    Alone exact(problem, settings_of("qgd", kExact, 0.05)),
        parts(problem, settings_of("qgd", "perm_k", 0.05));
    for (int k = 0; k < 50; ++k) {
        exact.iterate();
        parts.iterate();
        ASSERT_LT(relative_distance(parts.method->point(), exact.method->point()), 1e-5) << k;  // of floats
    }
    EXPECT_TRUE(run_to(small_bilinear(), settings_of("masha1", "perm_k", 0.2), 1e-20, 5000).reached);
    LocalExchange exchange(4);
    EXPECT_THROW(make_method(problem, exchange, settings_of("qgd", "perm_k:1/4", 0.05)), Error);
}

TEST(Owners, change_what_is_compressed_together_and_nothing_that_is_exact) {
    const Bilinear problem = small_bilinear();
    Alone spread(problem, settings_of("masha1", kExact, 0.1)),
        central(problem, settings_of("masha1", kExact, 0.1), 1);
    Alone many(problem, settings_of("masha1", kExact, 0.1), 50);  // more than coordinates: some own nothing
    for (Alone* each : {&spread, &central, &many}) each->iterate(20);
    EXPECT_EQ(spread.method->point(), central.method->point());
    EXPECT_EQ(spread.method->point(), many.method->point());
    EXPECT_TRUE(run_to(problem, settings_of("masha1", "rand_k:0.3", 0.2), 1e-12, 3000).reached);
}

TEST(Methods, say_what_is_wrong_with_their_settings) {
    const Bilinear problem = small_bilinear();
    LocalExchange exchange(4);
    const auto error_of = [&](const MethodSettings& settings) -> std::string {
        try {
            make_method(problem, exchange, settings);
        } catch (const Error& error) {
            EXPECT_EQ(error.kind(), ErrorKind::invalid_argument);
            return error.what();
        }
        return "";
    };
    const auto mentions = [](const std::string& text, const std::string& part) {
        return text.find(part) != std::string::npos;
    };
    EXPECT_TRUE(mentions(error_of(settings_of("masha3")), "extragradient, qgd"));
    EXPECT_TRUE(mentions(error_of(settings_of("masha1", "top_k:0.3")), "biased"));
    EXPECT_TRUE(mentions(error_of(settings_of("masha2", "rand_k:0.3")), "does not contract"));
    EXPECT_TRUE(mentions(error_of(settings_of("masha1", kExact, 0.0)), "positive"));
    MethodSettings settings = settings_of("masha1");
    settings.refresh = 0;
    EXPECT_TRUE(mentions(error_of(settings), "refresh"));
    settings.refresh = 1;  // the bound
    EXPECT_EQ(error_of(settings_of("masha1", kExact, 0.1)), "");
    settings = settings_of("masha1");
    settings.participants = 5;
    EXPECT_TRUE(mentions(error_of(settings), "4 devices"));
    settings.participants = 4;
    EXPECT_EQ(error_of(settings), "");
    settings.batch = 2;
    EXPECT_TRUE(mentions(error_of(settings), "1 components"));
    LocalExchange too_few(3);
    EXPECT_THROW(make_method(problem, too_few, settings_of("masha1")), Error);
    settings = settings_of("local_sgda", kExact, 0.1);
    settings.local_steps = 0;
    EXPECT_TRUE(mentions(error_of(settings), "local step"));
}

TEST(Methods, that_diverge_end_their_run) {
    const Bilinear problem = small_bilinear();
    const Trajectory trajectory = run_to(problem, settings_of("masha1", "rand_k:0.3", 50.0), 0, 100000);
    EXPECT_TRUE(trajectory.diverged);
    EXPECT_FALSE(trajectory.reached);
    EXPECT_GE(trajectory.final_error(), 1e6);
}

}  // namespace
}  // namespace shoal::variational
