#include "shoal/sim/timeline.h"

#include <algorithm>

namespace shoal::sim {

std::int64_t Timeline::bucket_of(TimePoint when) {
    return when.since_start.count() >> 23;  // 8 milliseconds
}

bool Timeline::is_later(const Entry& a, const Entry& b) {
    return a.when != b.when ? a.when > b.when : a.number > b.number;
}

Timeline::EventId Timeline::at(TimePoint when, std::function<void()> action) {
    const EventId id{++inserted_,
                     free_places_.empty() ? static_cast<std::uint32_t>(events_.size()) : free_places_.back()};
    if (free_places_.empty())
        events_.emplace_back();
    else
        free_places_.pop_back();
    events_[id.place].number = id.number;
    events_[id.place].action = std::move(action);
    ++waiting_;
    const Entry entry{std::max(when, now_), id.number, id.place};
    const std::int64_t bucket = bucket_of(entry.when);
    if (bucket > soon_) {
        later_[bucket].push_back(entry);
    } else {
        heap_.push_back(entry);
        std::push_heap(heap_.begin(), heap_.end(), is_later);
    }
    return id;
}

/// Frees the place before what was in it is called or destroyed: either may insert or cancel others.
std::function<void()> Timeline::take(std::uint32_t place) {
    events_[place].number = 0;
    free_places_.push_back(place);
    --waiting_;
    return std::exchange(events_[place].action, nullptr);
}

void Timeline::cancel(const EventId& id) {
    if (id.number == 0 || id.place >= events_.size() || events_[id.place].number != id.number) return;
    const std::function<void()> forgotten = take(id.place);
}

TimePoint Timeline::next() {
    for (;;) {
        while (!heap_.empty() && !waits(heap_.front())) {
            std::pop_heap(heap_.begin(), heap_.end(), is_later);
            heap_.pop_back();
        }
        if (!heap_.empty()) return heap_.front().when;
        if (later_.empty()) return TimePoint::never();
        auto bucket = later_.extract(later_.begin());
        soon_ = bucket.key();
        heap_ = std::move(bucket.mapped());
        std::erase_if(heap_, [this](const Entry& entry) { return !waits(entry); });
        std::make_heap(heap_.begin(), heap_.end(), is_later);
    }
}

void Timeline::fire_next() {
    now_ = next();
    const std::uint32_t place = heap_.front().place;
    std::pop_heap(heap_.begin(), heap_.end(), is_later);
    heap_.pop_back();
    ++fired_;
    const std::function<void()> action = take(place);
    action();
}

void Timeline::advance_to(TimePoint when) {
    now_ = std::max(now_, when);
}

void Timeline::clear() {
    // What the events own may insert or cancel others when it is destroyed.
    while (!empty()) {
        const std::vector<Event> forgotten = std::exchange(events_, {});
        free_places_.clear();
        heap_.clear();
        later_.clear();
        waiting_ = 0;
    }
}

}  // namespace shoal::sim
