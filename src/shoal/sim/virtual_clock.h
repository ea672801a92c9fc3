// The Clock of one simulated machine: virtual time, a wall clock that may be wrong, and a switch that stops
// the machine.
#pragma once

#include <memory>
#include <vector>

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

    TimePoint now() const override { return state_->timeline->now(); }
    WallTime wall_now() const override;
    awaitable<void> sleep_until(TimePoint when) override;

    /// How far this machine's wall clock is ahead of the correct time (negative: behind).
    void set_skew(Duration skew) { skew_ = skew; }

    /// Stops the machine (SIGSTOP): sleepers whose time comes sleep on until thaw().
    void freeze() { state_->frozen = true; }
    void thaw();

  private:
    struct Sleeper {
        explicit Sleeper(const asio::any_io_executor& executor) : woken(executor) {}
        Signal woken;
        bool due = false;
    };
    struct State {
        std::shared_ptr<Timeline> timeline;
        bool frozen = false;
        std::vector<std::weak_ptr<Sleeper>> overslept;  // their time came while the machine was frozen
        void wake(const std::shared_ptr<Sleeper>& sleeper);
    };
    std::shared_ptr<State> state_;
    WallTime epoch_;
    Duration skew_{0};
};

}  // namespace shoal::sim
