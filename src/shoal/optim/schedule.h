// The learning rate as a function of the global step alone, so that all peers use the same one.
#pragma once

#include <cstdint>
#include <string>

#include "shoal/base/units.h"

namespace shoal::optim {

struct ScheduleSettings {
    /// After the warm-up: "constant", "linear" (a straight line down) or "cosine" (half a wave down).
    std::string kind = "linear";
    double learning_rate = 1e-3;     ///< at the peak, reached at step warmup_steps
    double start_learning_rate = 0;  ///< at step 0, if there is a warm-up
    double final_learning_rate = 0;  ///< from step total_steps on; not used by "constant"
    std::int64_t warmup_steps = 0;   ///< in which the rate rises in a straight line
    std::int64_t total_steps = 0;    ///< warm-up included; not used by "constant"
};

/// Throws Error(invalid_argument) that names the field: an unknown kind, a rate that is negative or not
/// finite, negative steps, or (but for "constant") total_steps that are not positive or less than
/// warmup_steps.
void check(const ScheduleSettings& settings);

/// The rate of the update that leads from `step` to next(step). A negative step counts as 0. The same bits on
/// every machine. `settings` must pass check().
double learning_rate(const ScheduleSettings& settings, Step step);

}  // namespace shoal::optim
