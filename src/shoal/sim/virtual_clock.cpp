#include "shoal/sim/virtual_clock.h"

#include <utility>
#include <vector>

namespace shoal::sim {

struct VirtualClock::State {
    bool frozen = false;
    std::vector<std::weak_ptr<Alarm>> overslept;  ///< their time came while the machine was frozen
};

/// Takes its event off the timeline when it goes.
struct VirtualClock::Alarm : std::enable_shared_from_this<Alarm> {
    Alarm(std::shared_ptr<Timeline> of, std::shared_ptr<State> on, Signal& wakes)
        : timeline(std::move(of)), machine(std::move(on)), signal(wakes) {}
    Alarm(const Alarm&) = delete;
    Alarm& operator=(const Alarm&) = delete;
    ~Alarm() { timeline->cancel(event); }

    void ring() {
        if (machine->frozen) {
            machine->overslept.push_back(weak_from_this());
            return;
        }
        rung = true;
        signal.notify();
    }

    std::shared_ptr<Timeline> timeline;
    std::shared_ptr<State> machine;
    Signal& signal;
    Timeline::EventId event;
    bool rung = false;
};

VirtualClock::VirtualClock(std::shared_ptr<Timeline> timeline, WallTime epoch)
    : timeline_(std::move(timeline)), state_(std::make_shared<State>()), epoch_(epoch) {}

WallTime VirtualClock::wall_now() const {
    const Duration elapsed = now().since_start + skew_;
    return epoch_ + std::chrono::floor<std::chrono::milliseconds>(elapsed);
}

void VirtualClock::freeze() {
    state_->frozen = true;
}

void VirtualClock::thaw() {
    state_->frozen = false;
    for (const auto& late : std::exchange(state_->overslept, {}))
        if (const auto alarm = late.lock()) alarm->ring();
}

std::shared_ptr<VirtualClock::Alarm> VirtualClock::set_alarm(TimePoint when, Signal& signal) {
    const auto alarm = std::make_shared<Alarm>(timeline_, state_, signal);
    // It is there when the event comes: it takes the event away when it goes.
    alarm->event = timeline_->at(when, [ringing = alarm.get()] { ringing->ring(); });
    return alarm;
}

std::shared_ptr<void> VirtualClock::notify_at(TimePoint when, Signal& signal) {
    return set_alarm(when, signal);
}

awaitable<void> VirtualClock::sleep_until(TimePoint when) {
    const asio::any_io_executor executor = co_await asio::this_coro::executor;
    Signal woken(executor);
    // Even a time that is past goes through the timeline, so that a loop of such sleeps lets others run.
    const std::shared_ptr<Alarm> alarm = set_alarm(when, woken);
    while (!alarm->rung) co_await woken.wait();
}

}  // namespace shoal::sim
