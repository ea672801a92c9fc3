// The Clock of one simulated machine: virtual time, a wall clock that may be wrong, and a switch that stops
// the machine.
#pragma once

#include <memory>

#include "shoal/base/async.h"
#include "shoal/base/clock.h"
#include "shoal/sim/timeline.h"

namespace shoal::sim {

/// All machines of a simulation share one monotonic time; their wall clocks may differ (skew).
/// Thread: the one of the simulation.
class VirtualClock final : public Clock {
  public:
    /// @param epoch  what a correct wall clock shows at virtual time zero.
    VirtualClock(std::shared_ptr<Timeline> timeline, WallTime epoch);

    TimePoint now() const override { return timeline_->now(); }
    WallTime wall_now() const override;
    awaitable<void> sleep_until(TimePoint when) override;
    std::shared_ptr<void> notify_at(TimePoint when, Signal& signal) override;

    /// How far this machine's wall clock is ahead of the correct time (negative: behind).
    void set_skew(Duration skew) { skew_ = skew; }

    /// Stops the machine (SIGSTOP): sleepers whose time comes sleep on until thaw().
    void freeze();
    void thaw();

  private:
    struct State;
    struct Alarm;
    std::shared_ptr<Alarm> set_alarm(TimePoint when, Signal& signal);
    std::shared_ptr<Timeline> timeline_;
    std::shared_ptr<State> state_;
    WallTime epoch_;
    Duration skew_{0};
};

}  // namespace shoal::sim
