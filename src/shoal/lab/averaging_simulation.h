// The rounds of `shoal lab averaging` in virtual time.
#pragma once

#include <functional>

#include "shoal/lab/averaging_rounds.h"

namespace shoal::lab {

/// What a line shaped to a rate carries of TCP's payload: headers and acknowledgements take the rest (DeDLOC,
/// notes 6.1).
inline constexpr double kDelivered = 0.95;

/// Simulates the task on the effective rates of its lines: the whole vectors, the same protocol code, the
/// same chunks. @return  by round, the slowest peer's times
std::vector<RoundTimes> simulate_rounds(const AveragingTask& task, std::uint64_t seed,
                                        const std::function<void(double done)>& progress = {});

}  // namespace shoal::lab
