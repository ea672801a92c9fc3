// How often a peer says how many samples it has. What others must know at once (a new step, another state,
// that it waits) it says at once; samples alone only as often as they can matter, because everybody hears
// everybody: hundreds of micro-batches a second would fill slow lines.
#pragma once

#include <algorithm>

#include "shoal/base/clock.h"
#include "shoal/collective/progress.h"

namespace shoal::collective {

/// Nobody keeps new samples to itself for longer.
inline constexpr Duration kLongestSilence = std::chrono::seconds(1);

/// The time between two reports that differ in samples only: a part of what the batch still needs, so that
/// nobody learns much later that it is full.
/// @param eta  until the batch is full; 0 when it is
inline Duration silence_between_reports(Duration eta) {
    constexpr int kReportsAhead = 8;
    return std::clamp<Duration>(eta / kReportsAhead, Duration::zero(), kLongestSilence);
}

/// True if others have to know more of it than samples, speed, loss and traffic.
inline bool is_news(const Progress& before, const Progress& after) {
    return before.step != after.step || before.digest != after.digest || before.training != after.training ||
           before.waiting != after.waiting || before.attempt != after.attempt || before.role != after.role ||
           before.name != after.name || after.samples < before.samples;
}

}  // namespace shoal::collective
