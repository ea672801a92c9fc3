// Problems: their solutions solve them, their components add up, their constants hold.
#include "variational/small_problems.h"

#include <cmath>
#include <gtest/gtest.h>
#include <memory>
#include <numeric>

#include "shoal/base/error.h"
#include "shoal/variational/matrix_game.h"
#include "shoal/variational/robust_regression.h"

namespace shoal::variational {
namespace {

Samples small_samples() {
    Random random(3);
    Samples samples;
    samples.name = "numbers";
    samples.features = Matrix(60, 5);
    for (double& element : samples.features.elements()) element = random.normal() + 2;
    for (std::size_t n = 0; n < 60; ++n)
        samples.targets.push_back(samples.features(n, 0) - 0.5 * samples.features(n, 3) +
                                  0.1 * random.normal());
    normalise(samples);
    return samples;
}

RobustRegression small_regression(double radius = 0) {
    RegressionSettings settings;
    settings.devices = 4;
    settings.radius = radius;
    return RobustRegression(small_samples(), settings);
}

PolicemanAndBurglar small_burglary() {
    BurglarSettings settings;
    settings.devices = 3;
    settings.houses = 9;
    return PolicemanAndBurglar(settings);
}

Vector random_point(std::size_t dimension, Random& random, double scale = 1) {
    Vector point(dimension);
    for (double& value : point) value = scale * random.normal() / std::sqrt(static_cast<double>(dimension));
    return point;
}

/// Holds the constants against pairs of points; returns the tightest ratios that were seen.
void expect_constants_hold(const Problem& problem, double scale) {
    const Constants constants = problem.constants().value();
    const std::size_t d = problem.dimension();
    Random random(7);
    Vector of_u(d), of_v(d), difference(d), step(d);
    for (int trial = 0; trial < 200; ++trial) {
        const Vector u = random_point(d, random, scale), v = random_point(d, random, scale);
        combine(1, u, -1, v, step);
        const double length = dot(step, step);
        combine(1, full_operator(problem, u), -1, full_operator(problem, v), difference);
        EXPECT_LE(dot(difference, difference), constants.lipschitz * constants.lipschitz * length * 1.000001);
        EXPECT_GE(dot(difference, step), constants.monotonicity * length - 1e-9 * length);
        double squares = 0, component_squares = 0;
        for (std::size_t m = 0; m < problem.devices(); ++m) {
            problem.evaluate(m, u, of_u);
            problem.evaluate(m, v, of_v);
            squares += squared_distance(of_u, of_v) / static_cast<double>(problem.devices());
            const std::size_t all = problem.components(m);
            for (std::size_t i = 0; i < all; ++i) {
                problem.evaluate_batch(m, std::span(&i, 1), u, of_u);
                problem.evaluate_batch(m, std::span(&i, 1), v, of_v);
                component_squares +=
                    squared_distance(of_u, of_v) / static_cast<double>(problem.devices() * all);
            }
        }
        EXPECT_LE(squares, constants.device_lipschitz * constants.device_lipschitz * length * 1.000001);
        EXPECT_LE(component_squares,
                  constants.component_lipschitz * constants.component_lipschitz * length * 1.000001);
    }
}

void expect_components_add_up(const Problem& problem) {
    Random random(11);
    const Vector z = random_point(problem.dimension(), random);
    Vector whole(z.size()), by_components(z.size());
    for (std::size_t m = 0; m < problem.devices(); ++m) {
        std::vector<std::size_t> all(problem.components(m));
        std::iota(all.begin(), all.end(), std::size_t{0});
        problem.evaluate(m, z, whole);
        problem.evaluate_batch(m, all, z, by_components);
        EXPECT_LT(std::sqrt(squared_distance(whole, by_components)), 1e-12 * (1 + norm(whole)));
    }
}

TEST(Problems, the_operator_vanishes_at_the_known_solution) {
    const Bilinear bilinear = small_bilinear();
    const QuadraticGame game = small_game();
    for (const Problem* problem :
         {static_cast<const Problem*>(&bilinear), static_cast<const Problem*>(&game)})
        EXPECT_LT(norm(full_operator(*problem, problem->solution().value())), 1e-12) << problem->name();
}

TEST(Problems, devices_differ_at_the_solution_unless_they_are_the_same) {
    for (const bool homogeneous : {false, true}) {
        const Bilinear problem = small_bilinear(homogeneous);
        Vector value(problem.dimension());
        problem.evaluate(1, *problem.solution(), value);
        if (homogeneous)
            EXPECT_LT(norm(value), 1e-12);
        else
            EXPECT_GT(norm(value), 0.1);
    }
}

TEST(Problems, constants_hold_between_any_two_points) {
    expect_constants_hold(small_bilinear(), 3);
    expect_constants_hold(small_game(), 3);
    expect_constants_hold(small_burglary(), 3);
    expect_constants_hold(small_regression(), 0.5);  // all within its region
}

TEST(Problems, constants_are_no_larger_than_they_must_be) {
    // The bilinear field of one device turns: its Lipschitz constant is the largest eigenvalue, which is 1.
    const Constants constants = small_bilinear(true, 0).constants().value();
    EXPECT_NEAR(constants.lipschitz, 1, 1e-9);
    EXPECT_DOUBLE_EQ(constants.device_lipschitz, 1);
    EXPECT_EQ(constants.monotonicity, 0);
    const Constants game = small_game().constants().value();
    EXPECT_GE(game.monotonicity, 0.1);
    EXPECT_LT(game.lipschitz, game.device_lipschitz);
    EXPECT_LT(game.device_lipschitz, game.component_lipschitz);
}

TEST(Problems, components_add_up_to_the_operator_of_a_device) {
    expect_components_add_up(small_game());
    expect_components_add_up(small_regression());
    expect_components_add_up(small_bilinear());  // one component
}

TEST(Problems, equal_seeds_make_equal_problems_and_others_do_not) {
    BilinearSettings settings;
    settings.devices = 2;
    settings.dimension = 5;
    const Bilinear one(settings), same(settings);
    settings.seed = 2;
    const Bilinear other(settings);
    EXPECT_EQ(*one.solution(), *same.solution());
    EXPECT_NE(*one.solution(), *other.solution());
}

TEST(Problems, that_make_no_sense_are_refused) {
    BilinearSettings bilinear;
    bilinear.devices = 0;
    EXPECT_THROW(Bilinear{bilinear}, Error);
    QuadraticGameSettings game;
    game.monotonicity = 0;
    EXPECT_THROW(QuadraticGame{game}, Error);
    BurglarSettings burglar;
    burglar.houses = 1;
    EXPECT_THROW(PolicemanAndBurglar{burglar}, Error);
    RegressionSettings regression;
    regression.devices = 61;  // of 60 samples
    EXPECT_THROW(RobustRegression(small_samples(), regression), Error);
    regression.devices = 60;
    EXPECT_EQ(RobustRegression(small_samples(), regression).components(0), 1u);
    Samples broken = small_samples();
    broken.features(7, 1) = std::nan("");
    regression.devices = 4;
    EXPECT_THROW(RobustRegression(broken, regression), Error);
}

TEST(RobustRegression, its_operator_is_the_gradient_in_w_and_against_that_in_r) {
    const RobustRegression problem = small_regression();
    const std::size_t d = problem.dimension() / 2;
    Random random(5);
    Vector z = random_point(2 * d, random);
    const Vector value = full_operator(problem, z);
    // The objective, by differences: penalty 2 and regularisation 0.1 are the defaults.
    const auto objective = [&](const Vector& at) {
        const std::span<const double> w = std::span<const double>(at).first(d);
        const std::span<const double> r = std::span<const double>(at).last(d);
        return 0.5 * problem.loss(w, r) + 0.05 * dot(w, w) - dot(r, r);
    };
    for (std::size_t i = 0; i < 2 * d; ++i) {
        const double step = 1e-5, before = z[i];
        z[i] = before + step;
        const double above = objective(z);
        z[i] = before - step;
        const double slope = (above - objective(z)) / (2 * step);
        z[i] = before;
        EXPECT_NEAR(value[i], i < d ? slope : -slope, 1e-8) << i;
    }
}

TEST(RobustRegression, its_prox_keeps_the_shift_in_its_ball_and_leaves_the_weights) {
    const RobustRegression problem = small_regression(0.5);
    ASSERT_TRUE(problem.has_prox());
    EXPECT_FALSE(small_regression().has_prox());
    Vector z(problem.dimension(), 1.0);
    problem.prox(0.1, z);
    const std::size_t d = problem.dimension() / 2;
    EXPECT_EQ(z[0], 1);
    EXPECT_NEAR(norm(std::span<const double>(z).last(d)), 0.5, 1e-15);
    const Vector at_bound = z;
    problem.prox(0.1, z);
    EXPECT_LT(squared_distance(z, at_bound), 1e-30);
}

TEST(Samples, are_normalised_to_covariance_and_mean_square_of_one) {
    const Samples samples = small_samples();
    double squares = 0;
    Matrix covariance(5, 5);
    for (std::size_t n = 0; n < 60; ++n) {
        squares += samples.targets[n] * samples.targets[n] / 60;
        for (std::size_t i = 0; i < 5; ++i)
            add_scaled(samples.features(n, i) / 60, samples.features.row(n), covariance.row(i));
    }
    EXPECT_NEAR(squares, 1, 1e-12);
    EXPECT_NEAR(symmetric_eigenvalues(covariance).back(), 1, 1e-12);
    Samples constant;
    constant.name = "always the same";
    constant.features = Matrix(3, 2);
    constant.targets = {1, 2, 3};
    EXPECT_THROW(normalise(constant), Error);
}

TEST(Simplex, projection_is_the_nearest_point_of_it) {
    Random random(13);
    for (int trial = 0; trial < 100; ++trial) {
        Vector point = random_point(7, random, 4), projected = point;
        project_on_simplex(projected);
        EXPECT_NEAR(std::accumulate(projected.begin(), projected.end(), 0.0), 1, 1e-12);
        EXPECT_GE(*std::min_element(projected.begin(), projected.end()), 0);
        // <point - projection, corner - projection> <= 0 for every corner is what makes it the nearest.
        for (std::size_t corner = 0; corner < 7; ++corner) {
            Vector towards(projected);
            for (double& value : towards) value = -value;
            towards[corner] += 1;
            Vector rest(7);
            combine(1, point, -1, projected, rest);
            EXPECT_LE(dot(rest, towards), 1e-12);
        }
    }
}

TEST(Simplex, points_on_it_stay_where_they_are) {
    Vector corner = {0, 1, 0}, inner = {0.25, 0.25, 0.5};
    project_on_simplex(corner);
    project_on_simplex(inner);
    EXPECT_EQ(corner, (Vector{0, 1, 0}));
    EXPECT_EQ(inner, (Vector{0.25, 0.25, 0.5}));
}

TEST(Burglar, the_gap_is_what_the_best_answers_gain) {
    // Two houses of one device: A is w_i (1 - exp(-theta)) off the diagonal and 0 on it.
    BurglarSettings settings;
    settings.devices = 1;
    settings.houses = 2;
    const PolicemanAndBurglar problem(settings);
    Vector value(4);
    problem.evaluate(0, Vector{0, 1, 1, 0}, value);  // the policeman at house 1, the burglar at house 0
    const double first = -value[2], second = value[0];
    EXPECT_GT(first, 0);
    EXPECT_EQ(second, 0);
    EXPECT_DOUBLE_EQ(problem.gap(Vector{0, 1, 1, 0}).value(), first);  // the policeman would save all of it
    // With the policeman at i as often as house i is worth, all houses gain alike, and the burglar's answer
    // is the reverse.
    problem.evaluate(0, Vector{1, 0, 0, 1}, value);
    const double other = -value[3];
    const double share = first / (first + other);
    EXPECT_NEAR(problem.gap(Vector{share, 1 - share, 1 - share, share}).value(), 0, 1e-12);
    EXPECT_GT(problem.gap(problem.start()).value(), 0);
}

}  // namespace
}  // namespace shoal::variational
