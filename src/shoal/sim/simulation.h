// A simulation: one io_context that is polled until idle, and then virtual time jumps to the next event.
//
// Everything that happens follows from the seed: coroutines run in the order in which they became ready,
// events in the order of (time, insertion). Two runs of one seed give the same trace.
#pragma once

#include <asio/io_context.hpp>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "shoal/base/async.h"
#include "shoal/base/clock.h"
#include "shoal/base/random.h"
#include "shoal/sim/timeline.h"
#include "shoal/sim/virtual_clock.h"

namespace shoal::sim {

/// What happened, as a running hash, and line by line if wanted.
class Trace {
  public:
    /// Keeps the lines from now on (for a human who replays a seed).
    void keep_lines(bool keep) { keep_lines_ = keep; }
    void note(TimePoint when, std::string_view what, std::uint64_t a = 0, std::uint64_t b = 0,
              std::uint64_t c = 0);
    /// Equal for equal histories.
    std::uint64_t hash() const { return hash_; }
    std::uint64_t count() const { return count_; }
    const std::vector<std::string>& lines() const { return lines_; }

  private:
    std::uint64_t hash_ = 0xcbf29ce484222325;
    std::uint64_t count_ = 0;
    bool keep_lines_ = false;
    std::vector<std::string> lines_;
};

class Simulation {
  public:
    explicit Simulation(std::uint64_t seed);
    /// Cancels what was spawned and lets it end.
    ~Simulation();
    Simulation(const Simulation&) = delete;
    Simulation& operator=(const Simulation&) = delete;

    /// The executor of every simulated peer. It may also be the `worker` of offload(): real threads have no
    /// place here.
    asio::any_io_executor executor() { return context_.get_executor(); }
    const std::shared_ptr<Timeline>& timeline() { return timeline_; }
    /// The clock of the observer: correct, and never frozen.
    VirtualClock& clock() { return *clock_; }
    /// A clock for one more machine. Lives as long as the simulation.
    VirtualClock& make_clock();
    /// The generator from which all others of the simulation are split.
    Random& random() { return random_; }
    Trace& trace() { return trace_; }

    /// Starts a coroutine. If it fails with anything but a cancellation, the next run...() throws that.
    void spawn(awaitable<void> task);

    /// Runs until `main` has ended; returns or throws what it did. What was spawned stays suspended.
    /// Throws Error(timed_out) when `limit` of virtual time has passed, or when nothing is left to happen
    /// while `main` still waits.
    template <typename T>
    T run(awaitable<T> main, Duration limit = std::chrono::hours(24));

    /// Runs until virtual time is `when`.
    void run_until(TimePoint when);
    void run_for(Duration duration) { run_until(clock_->now() + duration); }
    /// Runs until the condition holds (true), or `limit` has passed or nothing is left to happen (false).
    /// The condition is asked after each event.
    bool run_until(const std::function<bool()>& condition, Duration limit = std::chrono::hours(24));
    /// Runs until nothing is left to happen.
    void run();

  private:
    void poll();
    void throw_failure();
    template <typename T>
    static awaitable<void> keep_outcome(awaitable<T> main, std::shared_ptr<std::optional<T>> result);

    // In this order: the io_context goes before what its coroutines may use when they are destroyed with it.
    std::shared_ptr<Timeline> timeline_;
    Random random_;
    Trace trace_;
    VirtualClock* clock_ = nullptr;
    std::deque<VirtualClock> clocks_;
    std::exception_ptr failure_;
    std::list<asio::cancellation_signal> spawned_;
    asio::io_context context_;
    asio::executor_work_guard<asio::io_context::executor_type> work_;
};

template <typename T>
awaitable<void> Simulation::keep_outcome(awaitable<T> main, std::shared_ptr<std::optional<T>> result) {
    result->emplace(co_await std::move(main));
}

template <typename T>
T Simulation::run(awaitable<T> main, Duration limit) {
    bool ended = false;
    std::exception_ptr error;
    auto on_end = [&ended, &error](const std::exception_ptr& failure) {
        ended = true;
        error = failure;
    };
    using Result = std::conditional_t<std::is_void_v<T>, bool, T>;
    auto result = std::make_shared<std::optional<Result>>();
    asio::cancellation_signal give_up;
    auto completion = asio::bind_cancellation_slot(give_up.slot(), on_end);
    if constexpr (std::is_void_v<T>)
        asio::co_spawn(context_, std::move(main), completion);
    else
        asio::co_spawn(context_, keep_outcome<T>(std::move(main), result), completion);
    const std::function<bool()> has_ended = [&ended] { return ended; };
    try {
        if (!run_until(has_ended, limit)) {
            const std::string when = std::to_string(seconds(timeline_->now().since_start));
            throw Error(ErrorKind::timed_out, timeline_->empty()
                                                  ? "nothing is left to happen at " + when + " s"
                                                  : "still waiting at " + when + " s");
        }
    } catch (...) {
        // The caller's objects go away with this exception, so `main` has to end before.
        give_up.emit(asio::cancellation_type::terminal);
        poll();
        throw;
    }
    if (error) std::rethrow_exception(error);
    if constexpr (!std::is_void_v<T>) return std::move(**result);
}

}  // namespace shoal::sim
