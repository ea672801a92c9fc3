// The rows of `shoal lab bilinear` and `shoal lab saddle`: each a method on a problem, run in this process
// with all devices, on all processors at a time.
#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "shoal/run/result.h"
#include "shoal/variational/run_method.h"

namespace shoal::lab {

struct SaddleRow {
    std::string title;
    const variational::Problem* problem = nullptr;
    variational::MethodSettings settings;
    variational::StopRule rule;
    double target = 1e-7;  ///< what iterations and traffic are counted to
    /// Where there are several, each is tried, and the row shows the one that reached the target in the
    /// fewest iterations, or else came closest. Empty: the one of the settings.
    std::vector<double> step_sizes;
    bool drawn = true;  ///< in the picture
};

struct SaddleOutcome {
    variational::Trajectory trajectory;  ///< of the best step size
    std::size_t tried = 1;               ///< step sizes

    const variational::Waypoint* at(double target) const { return trajectory.first_below(target); }
};

/// How far a method is on this problem: the squared distance to the solution over that of the start, or the
/// gap of the average point over that of the start where there is no one solution.
variational::ErrorMeasure error_on(const variational::Problem& problem);

/// The step size that theory gives to this method here. Throws Error(invalid_argument) if it gives none.
double theory_step(const variational::Problem& problem, const variational::MethodSettings& settings);

/// Runs all and shows progress. Throws what a run throws.
std::vector<SaddleOutcome> run_rows(const std::vector<SaddleRow>& rows);

/// A line for each row; traffic is that of one device, up to the target.
void print_table(const std::vector<SaddleRow>& rows, const std::vector<SaddleOutcome>& outcomes);
nlohmann::json json_of(const std::vector<SaddleRow>& rows, const std::vector<SaddleOutcome>& outcomes);
/// Error against iterations, and against bytes that a device has sent.
void draw_rows(const std::string& title, const std::vector<SaddleRow>& rows,
               const std::vector<SaddleOutcome>& outcomes, const std::filesystem::path& file);

}  // namespace shoal::lab
