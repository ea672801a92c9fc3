#include "shoal/base/async.h"

#include <system_error>

namespace shoal {

bool is_cancellation(const std::exception_ptr& error) {
    if (!error) return false;
    try {
        std::rethrow_exception(error);
    } catch (const Error& e) {
        return e.kind() == ErrorKind::cancelled;
    } catch (const std::system_error& e) {
        return e.code() == asio::error::operation_aborted;
    } catch (...) {
        return false;
    }
}

std::string describe(const std::exception_ptr& error) {
    if (!error) return "no error";
    try {
        std::rethrow_exception(error);
    } catch (const std::exception& e) {
        return e.what();
    } catch (...) {
        return "an unknown error";
    }
}

struct TaskGroup::State : std::enable_shared_from_this<State> {
    explicit State(asio::any_io_executor e) : executor(std::move(e)), changed(executor) {}

    asio::any_io_executor executor;
    Signal changed;
    struct Task {
        asio::cancellation_signal signal;
        bool begun = false;
        bool cancelled = false;
        bool destroyed = false;  // with its context, before it ended
        bool dropped = false;    // its group has gone before it began
    };
    std::list<Task> running;  // a list, so that slots stay where they are
    std::exception_ptr failure;

    void cancel() {
        for (Task& task : running) {
            task.cancelled = true;
            if (task.begun && !task.destroyed) task.signal.emit(asio::cancellation_type::terminal);
        }
    }

    /// Held by a task's completion handler. When a context is destroyed, so are its coroutines, in any order,
    /// and those left may still cancel this group: what the signal of a destroyed task points to is gone.
    struct Life {
        Life(std::shared_ptr<State> s, std::list<Task>::iterator t) : state(std::move(s)), task(t) {}
        Life(const Life&) = delete;
        Life& operator=(const Life&) = delete;
        ~Life() {
            if (state) task->destroyed = true;
        }
        std::shared_ptr<State> state;
        std::list<Task>::iterator task;
    };

    /// Runs the task up to its first wait; only then can a cancellation reach it.
    void begin(std::list<Task>::iterator entry, awaitable<void> task) {
        if (entry->dropped) {
            running.erase(entry);
            return;
        }
        auto life = std::make_shared<Life>(shared_from_this(), entry);
        auto on_end = [life = std::move(life)](const std::exception_ptr& error) {
            const auto state = std::exchange(life->state, nullptr);
            state->ended(life->task, error);
        };
        asio::co_spawn(executor, std::move(task),
                       asio::bind_cancellation_slot(entry->signal.slot(), std::move(on_end)));
        entry->begun = true;
        if (entry->cancelled) entry->signal.emit(asio::cancellation_type::terminal);
    }

    static awaitable<void> until_idle(std::shared_ptr<State> self);

    void ended(std::list<Task>::iterator task, const std::exception_ptr& error) {
        running.erase(task);
        if (error && (!failure || is_cancellation(failure))) failure = error;
        if (error && !is_cancellation(error)) cancel();
        changed.notify();
    }
};

TaskGroup::TaskGroup(asio::any_io_executor executor) : state_(std::make_shared<State>(std::move(executor))) {}

TaskGroup::~TaskGroup() {
    if (state_->running.empty()) return;
    // A caller that was cancelled before spawn() throws at `co_await join()` itself, before join() could wait
    // for anybody: what its tasks use is gone then, and none of them has begun.
    for (State::Task& task : state_->running) task.dropped = !task.begun;
    // Posted, because a task may own the group's owner: when a context is destroyed, the frame that is being
    // destroyed right now can be that of the task that a cancellation would reach. Weak, because the tasks
    // keep the state.
    asio::post(state_->executor, [weak = std::weak_ptr<State>(state_)] {
        if (const auto state = weak.lock()) state->cancel();
    });
}

void TaskGroup::spawn(awaitable<void> task) {
    auto entry = state_->running.emplace(state_->running.end());
    // Posted, because co_spawn would run the task inside spawn(), and a task that cancels its group would
    // miss those that are spawned after it.
    asio::post(state_->executor, [state = state_, entry, waiting = std::move(task)]() mutable {
        state->begin(entry, std::move(waiting));
    });
}

void TaskGroup::cancel() {
    state_->cancel();
}

std::size_t TaskGroup::running() const {
    return state_->running.size();
}

awaitable<void> TaskGroup::State::until_idle(std::shared_ptr<State> self) {
    while (!self->running.empty()) co_await self->changed.wait();
}

awaitable<void> TaskGroup::settle() {
    auto state = state_;
    std::exception_ptr cancelled;
    try {
        co_await State::until_idle(state);
    } catch (...) {
        cancelled = std::current_exception();
    }
    if (!cancelled) co_return;
    // The caller gave up, but its tasks may use what it owns: wait for them.
    state->cancel();
    co_await asio::this_coro::throw_if_cancelled(false);
    co_await run_to_end(State::until_idle(state));
    std::rethrow_exception(cancelled);
}

awaitable<void> TaskGroup::join() {
    co_await settle();
    if (state_->failure) std::rethrow_exception(std::exchange(state_->failure, nullptr));
}

awaitable<bool> run_to_end(awaitable<void> operation) {
    co_await asio::this_coro::throw_if_cancelled(
        false);  // asio tests it at each co_await of another coroutine
    // One may have come since the caller last waited: what it waited for was there at the same moment.
    const asio::cancellation_state old_state = co_await asio::this_coro::cancellation_state;
    const bool cancelled_before =
        old_state.cancelled() != asio::cancellation_type::none;  // reset destroys it
    // From now on signals come in and are noted, but go no further.
    co_await asio::this_coro::reset_cancellation_state(asio::enable_terminal_cancellation(),
                                                       asio::disable_cancellation());
    std::exception_ptr failure;
    try {
        co_await std::move(operation);
    } catch (...) {
        failure = std::current_exception();
    }
    const asio::cancellation_state state = co_await asio::this_coro::cancellation_state;
    const bool cancelled = cancelled_before || state.cancelled() != asio::cancellation_type::none;
    co_await asio::this_coro::reset_cancellation_state(asio::enable_terminal_cancellation());
    co_await asio::this_coro::throw_if_cancelled(true);
    if (failure) std::rethrow_exception(failure);
    co_return cancelled;
}

namespace detail {

namespace {

/// An operation that runs beside the coroutine that waits for it, as long as that wants.
struct Limited {
    explicit Limited(const asio::any_io_executor& executor) : changed(executor) {}
    Signal changed;
    asio::cancellation_signal give_up;
    bool ended = false;
    std::exception_ptr error;
};

awaitable<void> until_due(Clock& clock, TimePoint deadline, std::shared_ptr<Limited> limited) {
    const std::shared_ptr<void> alarm = clock.notify_at(deadline, limited->changed);
    while (!limited->ended && clock.now() < deadline) co_await limited->changed.wait();
}

awaitable<void> until_ended(std::shared_ptr<Limited> limited) {
    while (!limited->ended) co_await limited->changed.wait();
}

}  // namespace

awaitable<bool> ends_in_time(Clock& clock, TimePoint deadline, awaitable<void> operation) {
    const asio::any_io_executor executor = co_await asio::this_coro::executor;
    const auto limited = std::make_shared<Limited>(executor);
    auto on_end = [limited](const std::exception_ptr& error) {
        limited->ended = true;
        limited->error = error;
        limited->changed.notify();
    };
    asio::co_spawn(executor, std::move(operation),
                   asio::bind_cancellation_slot(limited->give_up.slot(), std::move(on_end)));
    std::exception_ptr cancelled;
    try {
        co_await until_due(clock, deadline, limited);
    } catch (...) {
        cancelled = std::current_exception();
    }
    const bool in_time = limited->ended;
    if (!in_time) {
        // What the operation uses may be the caller's: it has to end first.
        limited->give_up.emit(asio::cancellation_type::terminal);
        co_await asio::this_coro::throw_if_cancelled(false);
        const bool cancelled_meanwhile = co_await run_to_end(until_ended(limited));
        if (cancelled_meanwhile && !cancelled)
            cancelled =
                std::make_exception_ptr(Error(ErrorKind::cancelled, "a wait with a deadline was cancelled"));
    }
    const bool failed = limited->error && (in_time || !is_cancellation(limited->error));
    if (failed) std::rethrow_exception(limited->error);
    if (cancelled) std::rethrow_exception(cancelled);
    co_return in_time || !limited->error;
}

void throw_timed_out(const std::string& what) {
    throw Error(ErrorKind::timed_out, "timed out: " + what);
}

}  // namespace detail

}  // namespace shoal
