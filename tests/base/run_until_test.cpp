// Ordinary code gets the result of a coroutine, or its error.
#include "shoal/base/run_until.h"

#include <gtest/gtest.h>

namespace shoal {
namespace {

using namespace std::chrono_literals;

awaitable<int> answer(Clock& clock) {
    co_await clock.sleep_for(1ms);
    co_return 42;
}

awaitable<void> fail() {
    throw Error(ErrorKind::bad_input, "no good");
    co_return;
}

awaitable<void> stop(asio::io_context& context) {
    context.stop();
    co_await asio::post(context, asio::use_awaitable);
}

TEST(RunUntilEnded, returns_the_result_though_other_work_of_the_context_never_ends) {
    asio::io_context context;
    RealClock clock;
    const auto work = asio::make_work_guard(context);
    EXPECT_EQ(run_until_ended(context, answer(clock)), 42);
    EXPECT_EQ(run_until_ended(context, answer(clock)), 42) << "and again";
}

TEST(RunUntilEnded, throws_what_the_operation_threw) {
    asio::io_context context;
    try {
        run_until_ended(context, fail());
        FAIL();
    } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::bad_input);
    }
}

TEST(RunUntilEnded, ends_with_an_error_if_somebody_stops_the_context) {
    asio::io_context context;
    try {
        run_until_ended(context, stop(context));
        FAIL();
    } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::cancelled);
    }
}

}  // namespace
}  // namespace shoal
