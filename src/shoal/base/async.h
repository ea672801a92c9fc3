// What coroutines wait with: Signal, Mailbox, TaskGroup, with_deadline, offload.
//
// Everything here belongs to one thread: the one that runs the executor it was made with. That is why there
// are no locks, and why `while (!condition) co_await signal.wait();` cannot miss a wake-up. Every wait can be
// cancelled through asio's cancellation slots; a cancelled wait throws, either Error(cancelled) or asio's
// operation_aborted: is_cancellation() knows both.
#pragma once

#include <asio/any_io_executor.hpp>
#include <asio/awaitable.hpp>
#include <asio/bind_cancellation_slot.hpp>
#include <asio/cancellation_signal.hpp>
#include <asio/co_spawn.hpp>
#include <asio/experimental/deferred.hpp>
#include <asio/experimental/parallel_group.hpp>
#include <asio/post.hpp>
#include <asio/steady_timer.hpp>
#include <asio/this_coro.hpp>
#include <asio/use_awaitable.hpp>
#include <deque>
#include <exception>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>

#include "shoal/base/clock.h"
#include "shoal/base/error.h"

namespace shoal {

/// True if the exception says that a caller gave up, rather than that something failed.
bool is_cancellation(const std::exception_ptr& error);

/// The text of any exception, for messages and logs.
std::string describe(const std::exception_ptr& error);

/// Wakes coroutines that wait for a change. Keeps no memory: test the condition before and after each wait.
class Signal {
  public:
    explicit Signal(const asio::any_io_executor& executor) : executor_(executor) {}
    /// Whoever still waits gets Error(cancelled).
    ~Signal();
    Signal(const Signal&) = delete;
    Signal& operator=(const Signal&) = delete;

    /// Wakes all that wait now, in the order in which they began to.
    void notify();
    /// Until the next notify(). Throws Error(cancelled) if the wait was cancelled before.
    awaitable<void> wait();
    const asio::any_io_executor& executor() const { return executor_; }

  private:
    struct Waiter;
    struct Woken;
    class Waiters;
    template <typename Handler>
    struct WaiterOf;

    void wake_all(bool cancelled);

    asio::any_io_executor executor_;
    Waiters* of_context_ = nullptr;  // found when somebody waits for the first time
    Waiter* first_ = nullptr;
    Waiter* last_ = nullptr;
};

/// An unbounded queue with one or more readers.
template <typename T>
class Mailbox {
  public:
    explicit Mailbox(const asio::any_io_executor& executor) : changed_(executor) {}

    /// Ignored after close().
    void push(T item) {
        if (closed_) return;
        items_.push_back(std::move(item));
        changed_.notify();
    }

    /// Readers get what is queued, and then the error.
    void close(std::exception_ptr reason) {
        if (closed_) return;
        closed_ = std::move(reason);
        changed_.notify();
    }

    /// The oldest item. Throws the reason of close() when nothing is left.
    awaitable<T> pop() {
        while (items_.empty()) {
            if (closed_) std::rethrow_exception(closed_);
            co_await changed_.wait();
        }
        T item = std::move(items_.front());
        items_.pop_front();
        co_return item;
    }

    std::optional<T> try_pop() {
        if (items_.empty()) return std::nullopt;
        std::optional<T> item(std::move(items_.front()));
        items_.pop_front();
        return item;
    }

    bool empty() const { return items_.empty(); }
    std::size_t size() const { return items_.size(); }
    bool closed() const { return closed_ != nullptr; }

  private:
    Signal changed_;
    std::deque<T> items_;
    std::exception_ptr closed_;
};

/// Runs coroutines side by side and waits for all of them. The destructor cancels what still runs but cannot
/// wait for it, so a task must keep alive what it uses (shared_from_this) or its owner must call join()
/// first.
class TaskGroup {
  public:
    explicit TaskGroup(asio::any_io_executor executor);
    ~TaskGroup();
    TaskGroup(const TaskGroup&) = delete;
    TaskGroup& operator=(const TaskGroup&) = delete;

    /// Starts a task. It begins to run when the caller next waits.
    void spawn(awaitable<void> task);
    /// Asks all running tasks to stop.
    void cancel();
    /// Waits until every task has ended. The first failure cancels the other tasks and is thrown here (a
    /// cancellation counts only if nothing else failed). If the caller is cancelled, so are the tasks, and
    /// join() still waits for them.
    awaitable<void> join();
    /// Waits until every task has ended, and says nothing of their failures.
    awaitable<void> settle();
    std::size_t running() const;

  private:
    struct State;
    std::shared_ptr<State> state_;
};

/// Runs an operation to its end, such as waiting for tasks that use what the caller owns, though the caller
/// be cancelled meanwhile. Returns true if it was, or had been before: the cancellation has been used up by
/// then, so the caller has to end by itself (one that arrives while cancellation is disabled would be lost).
/// Where it may have been cancelled before, `co_await asio::this_coro::throw_if_cancelled(false)` must come
/// first, or the very call throws.
awaitable<bool> run_to_end(awaitable<void> operation);

namespace detail {

template <typename T>
awaitable<void> keep_result(awaitable<T> operation, std::shared_ptr<std::optional<T>> result) {
    result->emplace(co_await std::move(operation));
}

/// Runs `operation` until it ends or the deadline passes. Returns true if it ended in time; throws what it
/// threw.
awaitable<bool> ends_in_time(Clock& clock, TimePoint deadline, awaitable<void> operation);

[[noreturn]] void throw_timed_out(const std::string& what);

}  // namespace detail

/// Runs an operation with a deadline. When that passes, the operation is cancelled and, once it has ended,
/// Error(timed_out) is thrown; so the operation must react to cancellation.
/// @param what  says in the error what took too long, e.g. "waiting for the handshake of 10.0.0.1:31337".
template <typename T>
awaitable<T> with_deadline(Clock& clock, TimePoint deadline, awaitable<T> operation, std::string what) {
    if (deadline == TimePoint::never()) co_return co_await std::move(operation);
    if constexpr (std::is_void_v<T>) {
        const bool ended = co_await detail::ends_in_time(clock, deadline, std::move(operation));
        if (!ended) detail::throw_timed_out(what);
    } else {
        auto result = std::make_shared<std::optional<T>>();
        awaitable<void> keeping = detail::keep_result<T>(std::move(operation), result);
        co_await detail::ends_in_time(clock, deadline, std::move(keeping));
        if (!result->has_value()) detail::throw_timed_out(what);
        co_return std::move(**result);
    }
}

/// Runs a function on another executor (a thread of its own) and resumes here with its result or exception.
/// If the caller is cancelled meanwhile, it is resumed at once; the function still runs to its end, so what
/// it uses must be owned by it. Name the function object before the co_await expression (g++ 12,
/// docs/footguns.md).
template <typename Function>
awaitable<std::invoke_result_t<Function&>> offload(asio::any_io_executor worker, Function function) {
    using Result = std::invoke_result_t<Function&>;
    struct State {
        explicit State(const asio::any_io_executor& home) : changed(home) {}
        Signal changed;
        bool finished = false;
        std::exception_ptr error;
        std::optional<std::conditional_t<std::is_void_v<Result>, bool, Result>> result;
    };
    asio::any_io_executor home = co_await asio::this_coro::executor;
    auto state = std::make_shared<State>(home);
    auto tracked_home = asio::prefer(home, asio::execution::outstanding_work.tracked);
    auto job = [state, tracked_home, run = std::move(function)]() mutable {
        try {
            if constexpr (std::is_void_v<Result>) {
                run();
                state->result.emplace(true);
            } else {
                state->result.emplace(run());
            }
        } catch (...) {
            state->error = std::current_exception();
        }
        asio::post(tracked_home, [state] {
            state->finished = true;
            state->changed.notify();
        });
    };
    asio::post(worker, std::move(job));
    while (!state->finished) co_await state->changed.wait();
    if (state->error) std::rethrow_exception(state->error);
    if constexpr (!std::is_void_v<Result>) co_return std::move(*state->result);
}

}  // namespace shoal
