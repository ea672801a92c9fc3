// A Signal that remembers: counts its notifications, so that one between a look and the wait for the next is
// not missed.
#pragma once

#include "shoal/base/async.h"

namespace shoal::collective {

class Changes {
  public:
    explicit Changes(const asio::any_io_executor& executor) : signal_(executor) {}

    void notify() {
        ++count_;
        signal_.notify();
    }
    /// Read it before looking at what may change.
    std::uint64_t count() const { return count_; }

    /// Until there were more notifications than `seen`, or the time has come.
    static awaitable<void> wait(Changes& changes, Clock& clock, std::uint64_t seen, TimePoint until) {
        if (changes.count_ != seen || clock.now() >= until) co_return;
        const std::shared_ptr<void> alarm = clock.notify_at(until, changes.signal_);
        while (changes.count_ == seen && clock.now() < until) co_await changes.signal_.wait();
    }

  private:
    Signal signal_;
    std::uint64_t count_ = 0;
};

}  // namespace shoal::collective
