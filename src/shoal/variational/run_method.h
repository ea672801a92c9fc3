// Runs a method until it is there, and keeps its way.
#pragma once

#include <functional>

#include "shoal/variational/method.h"

namespace shoal::variational {

struct StopRule {
    std::uint64_t iterations = 1000;  ///< at most
    double error = 0;                 ///< ends when the error is this or less
    double divergence = 1e6;          ///< ends when it is this or more
    std::uint64_t every = 1;          ///< iterations between the points that are kept
};

/// Of a way: one that was kept.
struct Waypoint {
    std::uint64_t iteration = 0;
    double error = 0;
    Traffic traffic;
    double evaluations = 0;
};

struct Trajectory {
    std::vector<Waypoint> way;  ///< the start, every so many iterations, and the end
    Vector point;               ///< the last
    double step_size = 0;
    bool reached = false, diverged = false;
    double final_error() const { return way.back().error; }
    /// The first iteration at which the error was this or less, to the precision of `every`; nothing if it
    /// never was.
    const Waypoint* first_below(double error) const;
};

/// How far a method is: 1 at its start if it is the squared distance to a solution over that of the start.
using ErrorMeasure = std::function<double(const Method&)>;

/// ||z^k - z*||^2 / ||z^0 - z*||^2
ErrorMeasure distance_to(const Vector& solution, const Vector& start);
/// The problem's gap of the average point (of the point, before there is an average).
ErrorMeasure gap_of_average(const Problem& problem);

/// Starts the method, which outlives the run, and iterates. One that diverges ends without an exception.
/// @param told  of each iteration; may be empty. Throws what Method::iterate() throws.
awaitable<Trajectory> run_method(Method& method, StopRule rule, ErrorMeasure error,
                                 std::function<void(const Waypoint&)> told = nullptr);

/// The same in this process, with all devices. @param owners  0: as many as devices
Trajectory run_in_process(const Problem& problem, const MethodSettings& settings, const StopRule& rule,
                          const ErrorMeasure& error, std::size_t owners = 0,
                          const std::function<void(const Waypoint&)>& told = nullptr);

}  // namespace shoal::variational
