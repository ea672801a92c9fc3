#include "shoal/sim/timeline.h"

#include <algorithm>

namespace shoal::sim {

Timeline::EventId Timeline::at(TimePoint when, std::function<void()> action) {
    const EventId id{std::max(when, now_), inserted_++};
    events_.emplace_hint(events_.end(), id, std::move(action));
    return id;
}

void Timeline::fire_next() {
    auto first = events_.extract(events_.begin());
    now_ = first.key().first;
    ++fired_;
    first.mapped()();
}

void Timeline::advance_to(TimePoint when) {
    now_ = std::max(now_, when);
}

void Timeline::clear() {
    // What the events own may insert or cancel others when it is destroyed.
    while (!events_.empty()) std::exchange(events_, {}).clear();
}

}  // namespace shoal::sim
