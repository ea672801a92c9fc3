#include "shoal/collective/line_pacer.h"

#include <algorithm>

namespace shoal::collective {
namespace {

/// So much may go out at once after a pause. Timers come late by less.
constexpr Duration kBurst = std::chrono::milliseconds(10);

}  // namespace

awaitable<void> LinePacer::take(std::size_t bytes) {
    if (!(rate_ > 0)) co_return;
    const TimePoint now = clock_.now();
    const TimePoint begin = std::max(free_at_, now - kBurst);
    free_at_ = begin + from_seconds(static_cast<double>(bytes) / rate_);
    if (begin > now) co_await clock_.sleep_until(begin);
}

}  // namespace shoal::collective
