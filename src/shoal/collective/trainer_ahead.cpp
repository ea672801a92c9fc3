// Delayed averaging: what a peer computes beside a round, for the step after it.
#include <algorithm>
#include <utility>

#include "shoal/collective/trainer.h"

namespace shoal::collective {

/// By speeds. More would make that batch larger than it should be. Others may claim any speed: half of an
/// equal part is ours whatever they say.
bool Trainer::has_its_part_of_the_next_batch() const {
    const SwarmView view = progress_.view();
    const double all = view.samples_per_second, own = speed_.samples_per_second();
    const double least = 0.5 / static_cast<double>(std::max<std::size_t>(1, view.training_peers));
    const double part = all > own && own > 0 ? std::max(least, own / all) : 1;
    return static_cast<double>(value(ahead_.samples)) >=
           part * static_cast<double>(value(settings_.target_batch_size));
}

awaitable<void> Trainer::compute_ahead() {
    while (!round_is_over_ && !role_.rests() && !has_its_part_of_the_next_batch())
        co_await micro_batch(ahead_);
}

/// The round, and beside it, where averaging is delayed, the work for the step after it.
awaitable<Verdict> Trainer::run_round(RoundRequest request) {
    round_is_over_ = is_decided_ = false;
    TaskGroup beside(network_.executor());
    if (settings_.delayed) {
        compute_.hold();
        held_ = true;
        beside.spawn(compute_ahead());
    }
    Verdict verdict;
    std::exception_ptr failure;
    try {
        verdict = co_await averager_.average(std::move(request));
        is_decided_ = verdict.outcome == Verdict::Outcome::averaged;
        round_is_over_ = true;
        co_await beside.join();  // the micro-batch under way counts
    } catch (...) {
        failure = std::current_exception();
    }
    if (failure) {
        beside.cancel();
        co_await asio::this_coro::throw_if_cancelled(false);
        co_await run_to_end(beside.settle());
        std::rethrow_exception(failure);
    }
    co_return verdict;
}

/// The parameters are still those that it was computed with.
void Trainer::merge_ahead() {
    if (!std::exchange(held_, false)) return;
    compute_.release();
    current_.samples += ahead_.samples;
    current_.loss_sum += ahead_.loss_sum;
    ahead_ = Accumulated();
}

}  // namespace shoal::collective
