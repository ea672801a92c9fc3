// One at a time, first come first served: the turn to use the Compute.
#pragma once

#include <deque>
#include <memory>
#include <utility>

#include "shoal/base/async.h"

namespace shoal::collective {

/// Whoever holds a Guard has the turn. Fair, so that a training loop that takes the turn again and again does
/// not starve a newcomer that waits for a snapshot. Thread: the one of the executor.
class Turn {
    struct State {
        explicit State(const asio::any_io_executor& executor) : changed(executor) {}
        Signal changed;
        std::uint64_t next_ticket = 0;
        std::deque<std::uint64_t> waiting;  ///< tickets, oldest first
        bool taken = false;
    };

  public:
    class Guard {
      public:
        explicit Guard(std::shared_ptr<State> state) : state_(std::move(state)) {}
        Guard(Guard&& other) noexcept = default;
        Guard& operator=(Guard&&) = delete;
        ~Guard() {
            if (!state_) return;
            state_->taken = false;
            state_->changed.notify();
        }

      private:
        std::shared_ptr<State> state_;
    };

    explicit Turn(const asio::any_io_executor& executor) : state_(std::make_shared<State>(executor)) {}

    /// Waits for the turn. Throws only Error(cancelled).
    awaitable<Guard> take() { return take_from(state_); }

  private:
    static awaitable<Guard> take_from(std::shared_ptr<State> state) {
        const std::uint64_t ticket = state->next_ticket++;
        state->waiting.push_back(ticket);
        try {
            while (state->taken || state->waiting.front() != ticket) co_await state->changed.wait();
        } catch (...) {
            std::erase(state->waiting, ticket);
            state->changed.notify();
            throw;
        }
        state->waiting.pop_front();
        state->taken = true;
        co_return Guard(std::move(state));
    }

    std::shared_ptr<State> state_;
};

}  // namespace shoal::collective
