#include "shoal/collective/line_pacer.h"

#include <algorithm>

namespace shoal::collective {
namespace {

/// So much may go out at once after a pause. Timers come late by less.
constexpr Duration kBurst = std::chrono::milliseconds(10);

}  // namespace

TimePoint LinePacer::reserve(std::size_t bytes) {
    const TimePoint now = clock_.now();
    if (!(rate_ > 0)) return now;
    const TimePoint begin = std::max(free_at_, now - kBurst);
    free_at_ = begin + from_seconds(static_cast<double>(bytes) / rate_);
    return std::max(begin, now);
}

awaitable<void> LinePacer::take(std::size_t bytes) {
    const TimePoint at = reserve(bytes);
    if (at > clock_.now()) co_await clock_.sleep_until(at);
}

}  // namespace shoal::collective
