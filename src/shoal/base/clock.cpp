#include "shoal/base/clock.h"

#include <asio/error.hpp>
#include <asio/steady_timer.hpp>
#include <asio/this_coro.hpp>
#include <asio/use_awaitable.hpp>

#include "shoal/base/async.h"
#include "shoal/base/error.h"

namespace shoal {

TimePoint RealClock::now() const {
    return {std::chrono::duration_cast<Duration>(std::chrono::steady_clock::now().time_since_epoch())};
}

WallTime RealClock::wall_now() const {
    return std::chrono::time_point_cast<std::chrono::milliseconds>(std::chrono::system_clock::now());
}

awaitable<void> RealClock::sleep_until(TimePoint when) {
    try {
        const asio::any_io_executor executor = co_await asio::this_coro::executor;
        const std::chrono::steady_clock::time_point expiry(when.since_start);
        asio::steady_timer timer(executor, expiry);
        co_await timer.async_wait(asio::use_awaitable);
    } catch (const asio::system_error& failure) {
        if (failure.code() != asio::error::operation_aborted) throw;
        throw Error(ErrorKind::cancelled, "a wait was cancelled");
    }
}

std::shared_ptr<void> RealClock::notify_at(TimePoint when, Signal& signal) {
    const std::chrono::steady_clock::time_point expiry(when.since_start);
    const auto timer = std::make_shared<asio::steady_timer>(signal.executor(), expiry);
    // The token may be dropped when the time has come and the handler has not run yet.
    timer->async_wait([weak = std::weak_ptr(timer), &signal](const std::error_code& error) {
        if (!error && !weak.expired()) signal.notify();
    });
    return timer;
}

}  // namespace shoal
