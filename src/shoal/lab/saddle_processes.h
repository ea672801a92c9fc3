// The same rows by processes: each device is one, and what it sends goes over encrypted loopback connections
// to the others, each of which owns a share of the coordinates.
#pragma once

#include "shoal/lab/saddle_problems.h"
#include "shoal/lab/saddle_rows.h"

namespace shoal::lab {

/// What the processes are told: the problem, and for each row settings and rule, as JSON.
nlohmann::json task_of(const ProblemChoice& choice, const std::vector<SaddleRow>& rows);

/// A part of a task.
struct SaddleTask {
    ProblemChoice choice;
    std::vector<variational::MethodSettings> settings;
    std::vector<variational::StopRule> rules;  // every iteration is kept
};
/// Throws what nlohmann::json throws on something else.
SaddleTask task_from(const nlohmann::json& json);

/// Of the errors at all iterations, the traffic at the end, and the last point: equal ones went the same way.
std::string fingerprint_of(const variational::Trajectory& trajectory);

/// Runs the rows (of one problem, each with one step size) as processes and in this one, prints a table, and
/// demands equal bits. Throws Error(system) with what a process has said if it fails.
void compare_processes(const ProblemChoice& choice, const std::vector<SaddleRow>& rows, run::Result& result);

}  // namespace shoal::lab
