#include "shoal/sim/virtual_clock.h"

#include <algorithm>

namespace shoal::sim {

namespace {

/// Takes an event off the timeline when the coroutine that waits for it ends, however it ends.
class EventGuard {
  public:
    EventGuard(std::shared_ptr<Timeline> timeline, Timeline::EventId id)
        : timeline_(std::move(timeline)), id_(id) {}
    ~EventGuard() { timeline_->cancel(id_); }
    EventGuard(const EventGuard&) = delete;
    EventGuard& operator=(const EventGuard&) = delete;

  private:
    std::shared_ptr<Timeline> timeline_;
    Timeline::EventId id_;
};

}  // namespace

VirtualClock::VirtualClock(std::shared_ptr<Timeline> timeline, WallTime epoch)
    : state_(std::make_shared<State>()), epoch_(epoch) {
    state_->timeline = std::move(timeline);
}

WallTime VirtualClock::wall_now() const {
    const Duration elapsed = now().since_start + skew_;
    return epoch_ + std::chrono::floor<std::chrono::milliseconds>(elapsed);
}

void VirtualClock::State::wake(const std::shared_ptr<Sleeper>& sleeper) {
    if (frozen) {
        overslept.push_back(sleeper);
        return;
    }
    sleeper->due = true;
    sleeper->woken.notify();
}

void VirtualClock::thaw() {
    state_->frozen = false;
    for (const auto& waiting : std::exchange(state_->overslept, {}))
        if (auto sleeper = waiting.lock()) state_->wake(sleeper);
}

awaitable<void> VirtualClock::sleep_until(TimePoint when) {
    const asio::any_io_executor executor = co_await asio::this_coro::executor;
    const auto state = state_;
    const auto sleeper = std::make_shared<Sleeper>(executor);
    // Even a time that is past goes through the timeline, so that a loop of such sleeps lets others run.
    std::function<void()> wake = [state, sleeper] { state->wake(sleeper); };
    const EventGuard guard(state->timeline, state->timeline->at(when, std::move(wake)));
    while (!sleeper->due) co_await sleeper->woken.wait();
}

}  // namespace shoal::sim
