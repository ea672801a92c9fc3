#include "shoal/collective/auxiliary_peer.h"

#include <algorithm>

#include "shoal/collective/trainer.h"

namespace shoal::collective {

AuxiliaryPeer::AuxiliaryPeer(net::Network& network, Clock& clock, Averager& averager,
                             ProgressTracker& progress, TrainingSettings settings, TrainingObserver& observer,
                             Log log)
    : network_(network),
      clock_(clock),
      averager_(averager),
      progress_(progress),
      settings_(std::move(settings)),
      observer_(observer),
      log_(std::move(log)) {}

awaitable<void> AuxiliaryPeer::run(Step start) {
    // Its own step is what it has seen the swarm reach: it starts at the bottom and follows.
    step_ = std::min(start, settings_.last_step);
    co_await progress_.start();
    report();
    while (step_ < settings_.last_step) {
        co_await until_needed();
        follow();
        if (step_ < settings_.last_step && progress_.batch_is_full()) co_await help();
    }
    co_await progress_.stop();
}

awaitable<void> AuxiliaryPeer::until_needed() {
    const auto needed = [this] {
        const SwarmView view = progress_.view();
        return view.step > step_ || (view.training_peers > 0 && progress_.batch_is_full());
    };
    while (!needed()) co_await progress_.changed().wait();
}

awaitable<void> AuxiliaryPeer::until_ahead() {
    while (progress_.view().step <= step_) co_await progress_.changed().wait();
}

void AuxiliaryPeer::follow() {
    const Step swarm = progress_.view().step;
    if (swarm <= step_) return;
    step_ = swarm;
    attempt_ = 0;
    failures_ = 0;
    excluded_.clear();
    report();
}

awaitable<void> AuxiliaryPeer::help() {
    RoundRequest request;
    request.step = step_;
    request.attempt = attempt_;
    request.excluded = excluded_;
    request.expected = [weak = weak_from_this(), step = step_] {
        const auto self = weak.lock();
        return self ? self->progress_.expected(step) : std::vector<ExpectedPeer>();
    };
    request.is_over = [weak = weak_from_this(), step = step_] {
        const auto self = weak.lock();
        return self && self->progress_.view().step > step;
    };
    request.lineage = [] {
        Lineage helper;  // it is no witness of which half is the swarm
        helper.newcomer = true;
        return helper;
    };
    const Verdict verdict = co_await averager_.average(std::move(request));
    bytes_sent_ += verdict.report.bytes_sent;
    bytes_received_ += verdict.report.bytes_received;
    observer_.on_round(step_, verdict);
    if (verdict.outcome == Verdict::Outcome::averaged) {
        step_ = next(step_);
        attempt_ = 0;
        failures_ = 0;
        excluded_.clear();
        report();
        co_return;
    }
    for (const PeerId& lost : verdict.lost) {
        if (lost == network_.self()) continue;
        if (std::find(excluded_.begin(), excluded_.end(), lost) == excluded_.end()) excluded_.push_back(lost);
        if (!network_.is_connected(lost)) progress_.forget(lost);
    }
    attempt_ = std::max(attempt_, verdict.attempt) + 1;
    ++failures_;
    report();
    const Duration pause = retry_pause(network_.self(), step_, failures_);
    if (pause == Duration::zero()) co_return;
    awaitable<void> ahead = until_ahead();
    co_await detail::ends_in_time(clock_, clock_.now() + pause, std::move(ahead));
}

void AuxiliaryPeer::report() {
    Progress own;
    own.name = settings_.name;
    own.role = Role::auxiliary;
    own.step = step_;
    own.bytes_sent = bytes_sent_;
    own.bytes_received = bytes_received_;
    own.attempt = attempt_;
    progress_.report(std::move(own));
}

}  // namespace shoal::collective
