// The first seam: time. Protocol code asks a Clock and nothing else, so that simulation can run it in virtual
// time.
#pragma once

#include <asio/any_io_executor.hpp>
#include <asio/awaitable.hpp>
#include <chrono>
#include <memory>

namespace shoal {

class Signal;
using asio::awaitable;
using Duration = std::chrono::nanoseconds;

/// Monotonic time since an unspecified start. Deadlines and durations.
struct TimePoint {
    Duration since_start{0};
    auto operator<=>(const TimePoint&) const = default;
    friend TimePoint operator+(TimePoint t, Duration d) { return {t.since_start + d}; }
    friend TimePoint operator-(TimePoint t, Duration d) { return {t.since_start - d}; }
    friend Duration operator-(TimePoint a, TimePoint b) { return a.since_start - b.since_start; }
    /// Later than every deadline.
    static constexpr TimePoint never() { return {Duration::max()}; }
};

/// Milliseconds since 1970-01-01 UTC. Only for what crosses machines (expiry of records); it may jump.
using WallTime = std::chrono::sys_time<std::chrono::milliseconds>;

/// Seconds as a floating number, for rates and reports.
constexpr double seconds(Duration d) {
    return std::chrono::duration<double>(d).count();
}
constexpr Duration from_seconds(double s) {
    return std::chrono::duration_cast<Duration>(std::chrono::duration<double>(s));
}

/// Thread: now() and wall_now() from any; sleep_until() from a coroutine on the executor it will resume on.
class Clock {
  public:
    virtual ~Clock() = default;
    virtual TimePoint now() const = 0;
    virtual WallTime wall_now() const = 0;
    /// Resumes at `when` or at once if it is past. Cancellation (asio slots) ends it with Error(cancelled).
    virtual awaitable<void> sleep_until(TimePoint when) = 0;
    /// Notifies the signal at `when`, or soon if it is past, unless the token that comes back is dropped
    /// before. The signal must live as long as the token. For waits that end with a change or with a
    /// deadline: it costs far less than to wait for both.
    virtual std::shared_ptr<void> notify_at(TimePoint when, Signal& signal) = 0;

    awaitable<void> sleep_for(Duration d) { return sleep_until(now() + d); }
};

/// The machine's own clocks (steady and system). Stateless; safe from any thread.
class RealClock final : public Clock {
  public:
    TimePoint now() const override;
    WallTime wall_now() const override;
    awaitable<void> sleep_until(TimePoint when) override;
    std::shared_ptr<void> notify_at(TimePoint when, Signal& signal) override;
};

}  // namespace shoal
