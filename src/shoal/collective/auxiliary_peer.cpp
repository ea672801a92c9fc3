#include "shoal/collective/auxiliary_peer.h"

#include <algorithm>

#include "shoal/collective/trainer.h"

namespace shoal::collective {

namespace {

constexpr Duration kSettling = std::chrono::seconds(2), kAhead = std::chrono::seconds(5);

}  // namespace

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
    step_ = std::min(start, settings_.last_step);
    co_await progress_.start();
    report();
    while (!is_over()) {
        follow();
        const bool is_wanted = progress_.view().training_peers > 0 && progress_.view().step == step_ &&
                               step_ < settings_.last_step && progress_.batch_is_full();
        if (is_wanted)
            co_await help();
        else
            co_await until_change();
    }
    co_await progress_.stop();
}

/// True when most of those that train have arrived at the end, or all have left after the last step, and it
/// is not just that we have not heard of the others yet.
bool AuxiliaryPeer::is_over() {
    std::size_t trainers = 0, arrived = 0;
    for (const Progress& peer : progress_.peers()) {
        // Nobody is beyond the last step.
        if (!peer.training || peer.role == Role::auxiliary || peer.step > settings_.last_step) continue;
        ++trainers;
        arrived += peer.step == settings_.last_step ? 1 : 0;
    }
    const bool over = trainers > 0 ? 2 * arrived > trainers : step_ >= settings_.last_step;
    return lasts(over, over_since_, kSettling);
}

/// True if the condition has held for so long.
bool AuxiliaryPeer::lasts(bool condition, std::optional<TimePoint>& since, Duration how_long) {
    if (!condition) since.reset();
    if (condition && !since) since = clock_.now();
    return condition && clock_.now() - *since >= how_long;
}

/// A change of the view, or the time when something has lasted long enough.
awaitable<void> AuxiliaryPeer::until_change() {
    TimePoint deadline = TimePoint::never();
    if (over_since_) deadline = *over_since_ + kSettling;
    if (ahead_since_) deadline = std::min(deadline, *ahead_since_ + kAhead);
    awaitable<void> change = progress_.changed().wait();
    if (deadline == TimePoint::never())
        co_await std::move(change);
    else
        co_await detail::ends_in_time(clock_, deadline, std::move(change));
}

awaitable<void> AuxiliaryPeer::until_ahead() {
    while (progress_.view().step <= step_) co_await progress_.changed().wait();
}

/// Goes where the crowd is: forward at once, and back if we have been ahead of it for a while. (After a round
/// that we took part in we are ahead for a moment; our own step proves nothing.)
void AuxiliaryPeer::follow() {
    const bool has_crowd = progress_.view().training_peers > 0;
    const Step swarm = std::min(progress_.view().step, settings_.last_step);
    const bool lost_ahead = lasts(has_crowd && swarm < step_, ahead_since_, kAhead);
    if (!has_crowd) return;
    if (swarm <= step_ && !lost_ahead) return;
    ahead_since_.reset();
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
