// The heap of everything that will happen in a simulation, in the order of virtual time.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <utility>

#include "shoal/base/clock.h"

namespace shoal::sim {

/// Events in the order of (time, number of insertion), so that equal times never depend on anything else.
/// Thread: the one of the simulation.
class Timeline {
  public:
    using EventId = std::pair<TimePoint, std::uint64_t>;

    TimePoint now() const { return now_; }

    /// Calls `action` when virtual time reaches `when`, or next if that is past.
    EventId at(TimePoint when, std::function<void()> action);
    EventId after(Duration delay, std::function<void()> action) {
        return at(now_ + delay, std::move(action));
    }

    /// Forgets an event. Nothing happens if it has fired.
    void cancel(const EventId& id) { events_.erase(id); }

    bool empty() const { return events_.empty(); }
    /// When the next event happens; TimePoint::never() when there is none.
    TimePoint next() const { return events_.empty() ? TimePoint::never() : events_.begin()->first.first; }

    /// Moves time to the next event and fires it. Precondition: !empty().
    void fire_next();
    /// Moves time forward without firing anything. Precondition: when <= next().
    void advance_to(TimePoint when);

    /// Forgets everything that has not happened yet.
    void clear();

    std::uint64_t fired() const { return fired_; }

  private:
    TimePoint now_{};
    std::uint64_t inserted_ = 0;
    std::uint64_t fired_ = 0;
    std::map<EventId, std::function<void()>> events_;
};

}  // namespace shoal::sim
