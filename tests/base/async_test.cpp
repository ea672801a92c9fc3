#include "shoal/base/async.h"

#include <asio/detached.hpp>
#include <asio/io_context.hpp>
#include <asio/thread_pool.hpp>
#include <functional>
#include <gtest/gtest.h>
#include <optional>
#include <thread>
#include <vector>

namespace shoal {
namespace {

using namespace std::chrono_literals;

/// Runs a coroutine to its end on a context of its own and throws what it threw.
void run(asio::io_context& context, awaitable<void> task) {
    std::exception_ptr failure;
    asio::co_spawn(context, std::move(task), [&](std::exception_ptr error) {
        failure = std::move(error);
        context.stop();
    });
    context.run();
    if (failure) std::rethrow_exception(failure);
}

awaitable<int> answer() {
    co_return 42;
}

awaitable<int> wait_for_ever(Signal& signal) {
    co_await signal.wait();
    co_return 0;
}

awaitable<void> count_up_to_notice(Signal& signal, int& noticed) {
    co_await signal.wait();
    ++noticed;
}

awaitable<void> fail(ErrorKind kind) {
    throw Error(kind, "on purpose");
    co_return;
}

awaitable<void> note_cancellation(Signal& signal, bool& cancelled) {
    try {
        co_await signal.wait();
    } catch (...) {
        cancelled = is_cancellation(std::current_exception());
        throw;
    }
}

TEST(Async, deadline_gives_the_result_of_an_operation_that_ends_in_time) {
    asio::io_context context;
    RealClock clock;
    int result = 0;
    auto task = [](Clock& c, int& r) -> awaitable<void> {
        r = co_await with_deadline(c, c.now() + 60s, answer(), "answering");
    };
    run(context, task(clock, result));
    EXPECT_EQ(result, 42);
}

TEST(Async, deadline_that_passes_cancels_the_operation_and_names_it) {
    asio::io_context context;
    RealClock clock;
    Signal signal(context.get_executor());
    auto task = [](Clock& c, Signal& s) -> awaitable<void> {
        co_await with_deadline(c, c.now() + 1ms, wait_for_ever(s), "waiting for nothing");
    };
    try {
        run(context, task(clock, signal));
        FAIL() << "no error";
    } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::timed_out);
        EXPECT_NE(std::string(error.what()).find("waiting for nothing"), std::string::npos);
    }
}

TEST(Async, deadline_passes_on_the_operations_own_error) {
    asio::io_context context;
    RealClock clock;
    auto task = [](Clock& c) -> awaitable<void> {
        co_await with_deadline(c, c.now() + 60s, fail(ErrorKind::corrupted), "failing");
    };
    try {
        run(context, task(clock));
        FAIL() << "no error";
    } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::corrupted);
    }
}

TEST(Async, group_waits_for_all_and_one_signal_wakes_all) {
    asio::io_context context;
    Signal signal(context.get_executor());
    int noticed = 0;
    auto task = [](asio::io_context& c, Signal& s, int& n) -> awaitable<void> {
        TaskGroup group(c.get_executor());
        for (int i = 0; i < 10; ++i) group.spawn(count_up_to_notice(s, n));
        co_await asio::post(c, asio::use_awaitable);
        co_await asio::post(c, asio::use_awaitable);
        s.notify();
        co_await group.join();
    };
    run(context, task(context, signal, noticed));
    EXPECT_EQ(noticed, 10);
}

TEST(Async, first_failure_in_a_group_cancels_the_others_and_is_thrown) {
    asio::io_context context;
    Signal signal(context.get_executor());
    bool cancelled = false;
    auto task = [](asio::io_context& c, Signal& s, bool& noted) -> awaitable<void> {
        TaskGroup group(c.get_executor());
        group.spawn(note_cancellation(s, noted));
        group.spawn(fail(ErrorKind::corrupted));
        co_await group.join();
    };
    try {
        run(context, task(context, signal, cancelled));
        FAIL() << "no error";
    } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::corrupted);
    }
    EXPECT_TRUE(cancelled);
}

awaitable<void> cancel_group(TaskGroup& group) {
    group.cancel();
    co_return;
}

TEST(Async, cancelling_a_group_reaches_a_task_spawned_after_the_one_that_cancels) {
    asio::io_context context;
    Signal signal(context.get_executor());
    bool cancelled = false;
    auto task = [](asio::io_context& c, Signal& s, bool& noted) -> awaitable<void> {
        TaskGroup group(c.get_executor());
        group.spawn(cancel_group(group));
        group.spawn(note_cancellation(s, noted));
        co_await group.settle();
    };
    run(context, task(context, signal, cancelled));
    EXPECT_TRUE(cancelled);
}

awaitable<void> group_that_hangs(asio::io_context& context, Signal& signal, bool& noted) {
    TaskGroup group(context.get_executor());
    group.spawn(note_cancellation(signal, noted));
    co_await group.join();
}

TEST(Async, cancelled_owner_of_a_group_ends_only_after_its_tasks) {
    asio::io_context context;
    RealClock clock;
    Signal signal(context.get_executor());
    bool cancelled = false;
    auto task = [](asio::io_context& c, Clock& k, Signal& s, bool& noted) -> awaitable<void> {
        co_await with_deadline(k, k.now() + 1ms, group_that_hangs(c, s, noted), "the group");
    };
    EXPECT_THROW(run(context, task(context, clock, signal, cancelled)), Error);
    EXPECT_TRUE(cancelled);
}

awaitable<void> two_waits(Signal& signal, int& passed) {
    for (int i = 0; i < 2; ++i) {
        co_await signal.wait();
        ++passed;
    }
}

awaitable<void> finish_then_say(Signal& signal, int& passed, bool& cancelled) {
    cancelled = co_await run_to_end(two_waits(signal, passed));
}

TEST(Async, what_runs_to_its_end_is_not_disturbed_by_a_cancellation_and_does_not_lose_it) {
    for (const bool cancel : {false, true}) {
        asio::io_context context;
        Signal signal(context.get_executor());
        asio::cancellation_signal cancelling;
        int passed = 0;
        bool cancelled = !cancel, ended = false;
        asio::co_spawn(context, finish_then_say(signal, passed, cancelled),
                       asio::bind_cancellation_slot(cancelling.slot(), [&](const std::exception_ptr& error) {
                           EXPECT_FALSE(error) << describe(error);
                           ended = true;
                       }));
        for (int i = 0; i < 2; ++i) {
            context.poll();
            EXPECT_EQ(passed, i);
            if (cancel) cancelling.emit(asio::cancellation_type::terminal);
            context.poll();
            EXPECT_EQ(passed, i) << "it still waits";
            signal.notify();
        }
        context.poll();
        EXPECT_TRUE(ended);
        EXPECT_EQ(passed, 2);
        EXPECT_EQ(cancelled, cancel);
    }
}

awaitable<void> wait_then_finish(Signal& signal, int& passed, bool& cancelled) {
    co_await signal.wait();
    co_await asio::this_coro::throw_if_cancelled(false);
    cancelled = co_await run_to_end(two_waits(signal, passed));
}

TEST(Async, a_cancellation_at_the_moment_of_the_wake_up_is_not_lost_by_what_runs_to_its_end) {
    asio::io_context context;
    Signal signal(context.get_executor());
    asio::cancellation_signal cancelling;
    int passed = 0;
    bool cancelled = false;
    asio::co_spawn(context, wait_then_finish(signal, passed, cancelled),
                   asio::bind_cancellation_slot(cancelling.slot(), [](const std::exception_ptr&) {}));
    context.poll();
    signal.notify();
    cancelling.emit(asio::cancellation_type::terminal);
    for (int i = 0; i < 2; ++i) {
        context.poll();
        signal.notify();
    }
    context.poll();
    EXPECT_EQ(passed, 2);
    EXPECT_TRUE(cancelled);
}

struct Owned {
    explicit Owned(bool& flag) : alive(flag) { alive = true; }
    Owned(const Owned&) = delete;
    Owned& operator=(const Owned&) = delete;
    ~Owned() { alive = false; }
    bool& alive;
};

awaitable<void> use(const bool& alive, int& used, int& used_after_its_end) {
    ++(alive ? used : used_after_its_end);
    co_return;
}

awaitable<void> wait_then_have_two_tasks(Signal& signal, bool& alive, int& used, int& used_after_its_end) {
    co_await signal.wait();
    const asio::any_io_executor executor = co_await asio::this_coro::executor;
    const Owned owned(alive);
    TaskGroup tasks(executor);
    for (int i = 0; i < 2; ++i) tasks.spawn(use(owned.alive, used, used_after_its_end));
    co_await tasks.join();
}

TEST(Async, tasks_of_an_owner_that_was_cancelled_before_it_could_wait_for_them_never_begin) {
    for (const bool cancel : {false, true}) {
        asio::io_context context;
        Signal signal(context.get_executor());
        asio::cancellation_signal cancelling;
        bool alive = false, ended = false;
        int used = 0, used_after_its_end = 0;
        asio::co_spawn(context, wait_then_have_two_tasks(signal, alive, used, used_after_its_end),
                       asio::bind_cancellation_slot(cancelling.slot(), [&](const std::exception_ptr& error) {
                           EXPECT_EQ(error && is_cancellation(error), cancel);
                           ended = true;
                       }));
        context.poll();
        signal.notify();
        if (cancel) cancelling.emit(asio::cancellation_type::terminal);
        context.poll();
        EXPECT_TRUE(ended);
        EXPECT_EQ(used_after_its_end, 0);
        EXPECT_EQ(used, cancel ? 0 : 2);
    }
}

awaitable<void> note_end_of_wait(Signal& signal, std::vector<int>& order, int number) {
    co_await signal.wait();
    order.push_back(number);
}

TEST(Async, a_signal_wakes_in_the_order_of_the_waits_without_those_that_were_cancelled) {
    asio::io_context context;
    Signal signal(context.get_executor());
    std::vector<asio::cancellation_signal> cancelling(5);
    std::vector<int> order;
    std::vector<bool> cancelled(5);
    for (int i = 0; i < 5; ++i)
        asio::co_spawn(context, note_end_of_wait(signal, order, i),
                       asio::bind_cancellation_slot(cancelling[static_cast<std::size_t>(i)].slot(),
                                                    [&cancelled, i](const std::exception_ptr& error) {
                                                        cancelled[static_cast<std::size_t>(i)] =
                                                            is_cancellation(error);
                                                    }));
    context.poll();
    for (const std::size_t i : {0, 2, 4}) cancelling[i].emit(asio::cancellation_type::terminal);
    signal.notify();
    signal.notify();
    context.restart();
    context.poll();
    EXPECT_EQ(order, (std::vector<int>{1, 3}));
    EXPECT_EQ(cancelled, (std::vector<bool>{true, false, true, false, true}));
}

TEST(Async, a_signal_that_goes_cancels_those_that_wait_for_it) {
    asio::io_context context;
    std::optional<Signal> signal(std::in_place, context.get_executor());
    bool cancelled = false;
    asio::co_spawn(context, note_cancellation(*signal, cancelled), asio::detached);
    context.poll();
    signal.reset();
    context.restart();
    context.poll();
    EXPECT_TRUE(cancelled);
}

awaitable<void> wait_and_own(Signal& signal, bool& alive) {
    const Owned owned(alive);
    co_await signal.wait();
}

TEST(Async, a_context_that_goes_ends_the_coroutines_that_wait_or_have_just_been_woken) {
    for (const bool woken : {false, true}) {
        std::optional<asio::io_context> context(std::in_place);
        Signal signal(context->get_executor());
        bool alive = false, alive_too = false;
        asio::co_spawn(*context, wait_and_own(signal, alive), asio::detached);
        asio::co_spawn(*context, wait_and_own(signal, alive_too), asio::detached);
        context->poll();
        EXPECT_TRUE(alive && alive_too);
        if (woken) signal.notify();
        context.reset();
        EXPECT_FALSE(alive || alive_too);
    }
}

awaitable<void> wait_until_due(Clock& clock, Signal& signal, TimePoint when, bool& in_time) {
    const std::shared_ptr<void> alarm = clock.notify_at(when, signal);
    co_await signal.wait();
    in_time = clock.now() < when;
}

TEST(Async, an_alarm_notifies_the_signal_when_its_time_has_come) {
    for (const bool early : {false, true}) {
        asio::io_context context;
        RealClock clock;
        Signal signal(context.get_executor());
        bool in_time = !early;
        const TimePoint when = clock.now() + (early ? Duration(1h) : Duration(2ms));
        asio::co_spawn(context, wait_until_due(clock, signal, when, in_time), asio::detached);
        if (early) asio::post(context, [&signal] { signal.notify(); });
        context.run();  // ends, as the alarm goes with the wait
        EXPECT_EQ(in_time, early);
    }
}

TEST(Async, an_alarm_that_is_dropped_when_its_time_has_come_notifies_nobody) {
    asio::io_context context;
    RealClock clock;
    std::optional<Signal> signal(std::in_place, context.get_executor());
    std::shared_ptr<void> alarm = clock.notify_at(clock.now() - 1ms, *signal);
    asio::post(context, [&] {  // before the handler of the alarm
        alarm.reset();
        signal.reset();
    });
    context.run();
    EXPECT_FALSE(signal);
}

awaitable<void> pop_three(Mailbox<int>& mailbox, std::vector<int>& got) {
    for (int i = 0; i < 3; ++i) got.push_back(co_await mailbox.pop());
}

TEST(Async, mailbox_hands_out_in_order_and_then_the_reason_of_its_closing) {
    asio::io_context context;
    Mailbox<int> mailbox(context.get_executor());
    mailbox.push(1);
    mailbox.push(2);
    mailbox.close(std::make_exception_ptr(Error(ErrorKind::connection_lost, "gone")));
    mailbox.push(3);
    std::vector<int> got;
    EXPECT_THROW(run(context, pop_three(mailbox, got)), Error);
    EXPECT_EQ(got, (std::vector<int>{1, 2}));
}

TEST(Async, offload_runs_elsewhere_and_resumes_here_with_result_or_error) {
    asio::io_context context;
    asio::thread_pool pool(1);
    const auto here = std::this_thread::get_id();
    auto task = [](asio::thread_pool& p, std::thread::id home) -> awaitable<void> {
        auto identify = [] { return std::this_thread::get_id(); };
        const auto there = co_await offload(p.get_executor(), identify);
        EXPECT_NE(there, home);
        EXPECT_EQ(std::this_thread::get_id(), home);
        auto thrower = []() -> int { throw Error(ErrorKind::bad_input, "from the worker"); };
        bool caught = false;
        try {
            co_await offload(p.get_executor(), thrower);
        } catch (const Error& error) {
            caught = error.kind() == ErrorKind::bad_input;
        }
        EXPECT_TRUE(caught);
    };
    run(context, task(pool, here));
}

}  // namespace
}  // namespace shoal
