#include "shoal/variational/run_method.h"

#include <asio/io_context.hpp>
#include <cmath>

#include "shoal/base/run_until.h"
#include "shoal/variational/local_exchange.h"

namespace shoal::variational {
namespace {

Waypoint waypoint(const Method& method, const ErrorMeasure& error) {
    Waypoint now;
    now.iteration = method.iterations();
    now.error = error(method);
    now.traffic = method.traffic();
    now.evaluations = method.evaluations();
    return now;
}

}  // namespace

const Waypoint* Trajectory::first_below(double error) const {
    for (const Waypoint& one : way)
        if (one.error <= error) return &one;
    return nullptr;
}

ErrorMeasure distance_to(const Vector& solution, const Vector& start) {
    const double whole = squared_distance(start, solution);
    return [solution, whole](const Method& method) {
        return squared_distance(method.point(), solution) / whole;
    };
}

ErrorMeasure gap_of_average(const Problem& problem) {
    return [&problem](const Method& method) {
        return problem.gap(method.iterations() == 0 ? method.point() : method.average_point()).value();
    };
}

awaitable<Trajectory> run_method(Method& method, StopRule rule, ErrorMeasure error,
                                 std::function<void(const Waypoint&)> told) {
    Trajectory trajectory;
    trajectory.step_size = method.step_size();
    co_await method.start();
    Waypoint now = waypoint(method, error);
    trajectory.way.push_back(now);
    while (now.error > rule.error && method.iterations() < rule.iterations) {
        co_await method.iterate();
        now = waypoint(method, error);
        if (told) told(now);
        trajectory.reached = now.error <= rule.error;
        trajectory.diverged = !(now.error < rule.divergence);
        const bool last = trajectory.reached || trajectory.diverged || method.iterations() == rule.iterations;
        if (last || method.iterations() % rule.every == 0) trajectory.way.push_back(now);
        if (trajectory.diverged) break;
    }
    trajectory.point = method.point();
    co_return trajectory;
}

Trajectory run_in_process(const Problem& problem, const MethodSettings& settings, const StopRule& rule,
                          const ErrorMeasure& error, std::size_t owners,
                          const std::function<void(const Waypoint&)>& told) {
    asio::io_context context(1);
    LocalExchange exchange(problem.devices(), owners == 0 ? problem.devices() : owners);
    const std::unique_ptr<Method> method = make_method(problem, exchange, settings);
    return run_until_ended(context, run_method(*method, rule, error, told));
}

}  // namespace shoal::variational
