#include "shoal/optim/schedule.h"

#include <algorithm>
#include <cmath>

#include "shoal/base/error.h"
#include "shoal/optim/exact_math.h"

namespace shoal::optim {

namespace {

[[noreturn]] void refuse(const std::string& problem) {
    throw Error(ErrorKind::invalid_argument, "schedule: " + problem);
}

void check_rate(const char* field, double rate) {
    if (!(rate >= 0) || !std::isfinite(rate)) {
        refuse(std::string(field) + " must be a finite number of at least 0, not " + std::to_string(rate));
    }
}

}  // namespace

void check(const ScheduleSettings& settings) {
    if (settings.kind != "constant" && settings.kind != "linear" && settings.kind != "cosine") {
        refuse("unknown kind '" + settings.kind + "'; the known ones are constant, linear, cosine");
    }
    check_rate("learning_rate", settings.learning_rate);
    check_rate("start_learning_rate", settings.start_learning_rate);
    check_rate("final_learning_rate", settings.final_learning_rate);
    if (settings.warmup_steps < 0) refuse("warmup_steps must not be negative");
    if (settings.kind == "constant") return;
    if (settings.total_steps <= 0) refuse("total_steps must be positive");
    if (settings.total_steps < settings.warmup_steps)
        refuse("total_steps must not be less than warmup_steps");
}

double learning_rate(const ScheduleSettings& settings, Step step) {
    const std::int64_t at = std::max<std::int64_t>(value(step), 0);
    const double peak = settings.learning_rate;
    if (at < settings.warmup_steps) {
        const double share = static_cast<double>(at) / static_cast<double>(settings.warmup_steps);
        return settings.start_learning_rate + (peak - settings.start_learning_rate) * share;
    }
    if (settings.kind == "constant") return peak;
    if (at >= settings.total_steps) return settings.final_learning_rate;
    const double share = static_cast<double>(at - settings.warmup_steps) /
                         static_cast<double>(settings.total_steps - settings.warmup_steps);
    const double left = settings.kind == "cosine" ? half_cosine(share) : 1 - share;
    return settings.final_learning_rate + (peak - settings.final_learning_rate) * left;
}

}  // namespace shoal::optim
