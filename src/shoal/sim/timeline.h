// The heap of everything that will happen in a simulation, in the order of virtual time.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <utility>
#include <vector>

#include "shoal/base/clock.h"

namespace shoal::sim {

/// Events in the order of (time, number of insertion), so that equal times never depend on anything else.
///
/// What happens soon is in a heap, and what happens later in buckets of some milliseconds, each of which
/// becomes that heap when its time has come. So the heap stays small, and most deadlines, which are
/// cancelled long before they would pass, are never sorted.
///
/// Thread: the one of the simulation.
class Timeline {
  public:
    struct EventId {
        std::uint64_t number = 0;
        std::uint32_t place = 0;
    };

    TimePoint now() const { return now_; }

    /// Calls `action` when virtual time reaches `when`, or next if that is past.
    EventId at(TimePoint when, std::function<void()> action);
    EventId after(Duration delay, std::function<void()> action) {
        return at(now_ + delay, std::move(action));
    }

    /// Forgets an event. Nothing happens if it has fired.
    void cancel(const EventId& id);

    bool empty() const { return waiting_ == 0; }
    /// When the next event happens; TimePoint::never() when there is none.
    TimePoint next();

    /// Moves time to the next event and fires it. Precondition: !empty().
    void fire_next();
    /// Moves time forward without firing anything. Precondition: when <= next().
    void advance_to(TimePoint when);

    /// Forgets everything that has not happened yet.
    void clear();

    std::uint64_t fired() const { return fired_; }

  private:
    struct Entry {
        TimePoint when;
        std::uint64_t number;
        std::uint32_t place;
    };
    /// An event that waits. The place is used again for others, which have other numbers.
    struct Event {
        std::uint64_t number = 0;  ///< 0: none
        std::function<void()> action;
    };

    static std::int64_t bucket_of(TimePoint when);
    static bool is_later(const Entry& a, const Entry& b);
    bool waits(const Entry& entry) const { return events_[entry.place].number == entry.number; }
    std::function<void()> take(std::uint32_t place);

    TimePoint now_{};
    std::uint64_t inserted_ = 0;
    std::uint64_t fired_ = 0;
    std::size_t waiting_ = 0;
    std::int64_t soon_ = 0;    ///< the heap has what happens in this bucket or before
    std::vector<Entry> heap_;  ///< the first is the next; may hold some that were cancelled
    std::map<std::int64_t, std::vector<Entry>> later_;  ///< by bucket; likewise
    std::vector<Event> events_;
    std::vector<std::uint32_t> free_places_;
};

}  // namespace shoal::sim
