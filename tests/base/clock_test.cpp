#include "shoal/base/clock.h"

#include <asio/bind_cancellation_slot.hpp>
#include <asio/cancellation_signal.hpp>
#include <asio/co_spawn.hpp>
#include <asio/io_context.hpp>
#include <asio/post.hpp>
#include <exception>
#include <gtest/gtest.h>

#include "shoal/base/error.h"

namespace shoal {
namespace {

/// Starts the wait, cancels it from within the event loop, and tells how it ended.
std::exception_ptr cancelled_wait(TimePoint when) {
    asio::io_context context;
    asio::cancellation_signal cancel;
    RealClock clock;
    std::exception_ptr result;
    asio::co_spawn(
        context, clock.sleep_until(when),
        asio::bind_cancellation_slot(cancel.slot(), [&](std::exception_ptr error) { result = error; }));
    asio::post(context, [&] { cancel.emit(asio::cancellation_type::terminal); });
    context.run();
    return result;
}

std::exception_ptr plain_wait(awaitable<void> wait) {
    asio::io_context context;
    std::exception_ptr result;
    asio::co_spawn(context, std::move(wait), [&](std::exception_ptr error) { result = error; });
    context.run();
    return result;
}

TEST(RealClock, NeverRunsBackwards) {
    const RealClock clock;
    TimePoint last = clock.now();
    for (int i = 0; i < 1000; ++i) {
        const TimePoint now = clock.now();
        EXPECT_GE(now, last);
        last = now;
    }
    EXPECT_LT(last, TimePoint::never());
}

TEST(RealClock, SleepsUntilThatTimeAndNotLess) {
    RealClock clock;
    const TimePoint when = clock.now() + std::chrono::milliseconds(5);
    EXPECT_EQ(plain_wait(clock.sleep_until(when)), nullptr);
    EXPECT_GE(clock.now(), when);
}

TEST(RealClock, ReturnsAtOnceFromATimeThatIsPast) {
    RealClock clock;
    EXPECT_EQ(plain_wait(clock.sleep_until(clock.now() - std::chrono::hours(1))), nullptr);
    EXPECT_EQ(plain_wait(clock.sleep_for(Duration(0))), nullptr);
}

TEST(RealClock, EndsACancelledWaitWithItsError) {
    for (const TimePoint when : {RealClock().now() + std::chrono::hours(1), TimePoint::never()}) {
        const std::exception_ptr result = cancelled_wait(when);
        ASSERT_NE(result, nullptr);
        try {
            std::rethrow_exception(result);
        } catch (const Error& error) {
            EXPECT_EQ(error.kind(), ErrorKind::cancelled);
        }
    }
}

TEST(Duration, IsConvertedToSecondsAndBack) {
    EXPECT_DOUBLE_EQ(seconds(std::chrono::milliseconds(1500)), 1.5);
    EXPECT_EQ(from_seconds(0.25), std::chrono::milliseconds(250));
}

}  // namespace
}  // namespace shoal
