// How often the records of one peer are looked at: each costs a judgement of the whole swarm and wakes all
// that wait for news.
#pragma once

#include <algorithm>

#include "shoal/base/clock.h"

namespace shoal::collective {

/// kPerSecond on average, and kAtOnce more after a silence: what an honest peer has to say around a step
/// passes at once, and so do the reports of micro-batches of some milliseconds.
class RecordPace {
  public:
    static constexpr int kPerSecond = 200, kAtOnce = 20;

    /// True if a record may be looked at now; it counts then.
    bool may_look(TimePoint now) {
        if (now < next_look()) return false;
        paid_until_ = std::max(paid_until_, now) + kInterval;
        return true;
    }
    TimePoint next_look() const { return paid_until_ - (kAtOnce - 1) * kInterval; }

  private:
    static constexpr Duration kInterval = Duration(std::chrono::seconds(1)) / kPerSecond;
    TimePoint paid_until_;
};

}  // namespace shoal::collective
