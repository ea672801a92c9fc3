// How a peer gets in step with a swarm that trains: when it joins, after it fell behind, and when it holds
// another state than most. (How a whole run starts: trainer_join.cpp.)
#include <algorithm>
#include <map>
#include <utility>

#include "shoal/collective/trainer.h"

namespace shoal::collective {

using namespace std::chrono_literals;

awaitable<StatePointer> Trainer::snapshot(std::weak_ptr<Trainer> weak) {
    const auto self = weak.lock();
    if (!self) throw Error(ErrorKind::refused, "this peer has ended");
    const Turn::Guard guard = co_await self->turn_.take();
    if (self->origin_ == Origin::long_ago)
        throw Error(ErrorKind::timed_out, "its state is older than the step that it works for");
    co_return co_await self->compute_.snapshot(self->step_);
}

bool Trainer::has_diverged() const {
    const SwarmView view = progress_.view();
    return training_ && view.step == step_ && view.digest != digest_;
}

/// True when we have been far ahead of the crowd for a while: then it is we who are on our own (two halves
/// that trained apart have met, or this peer resumed a checkpoint that the others do not have).
bool Trainer::is_lost_ahead() {
    constexpr std::int64_t kFar = 3;
    constexpr Duration kLong = 5s;
    const SwarmView view = progress_.view();
    // One other peer is no crowd: it may be the one that is behind, or lie.
    const bool ahead = view.voters > 2 && value(step_) > value(view.crowd) + kFar;
    if (!ahead) {
        ahead_since_.reset();
        return false;
    }
    if (!ahead_since_) ahead_since_ = clock_.now();
    return clock_.now() - *ahead_since_ >= kLong;
}

/// Peers that say they hold the state of `step` or a later one. Where several name the same state, only such:
/// the state is the one that most of them show, and must not be that of a stray.
/// @param diverged  only those that name the state on which most agree
std::vector<PeerId> Trainer::donors(Step step, bool diverged) const {
    const SwarmView view = progress_.view();
    std::vector<Progress> trainers, others;
    for (const Progress& peer : progress_.peers()) {
        if (peer.peer == network_.self() || peer.role == Role::auxiliary) continue;
        if (progress_.doubts(peer.peer) || peer.step < step) continue;
        if (diverged && (peer.step != view.step || peer.digest != view.digest)) continue;
        (peer.training ? trainers : others).push_back(peer);
    }
    // A peer that does not train may just be replacing its state; but when a whole run starts, nobody trains.
    const std::vector<Progress>& all = trainers.empty() ? others : trainers;
    std::map<std::pair<Step, Fingerprint>, std::size_t> named;
    for (const Progress& peer : all) ++named[{peer.step, peer.digest}];
    const bool is_shared =
        std::any_of(named.begin(), named.end(), [](const auto& state) { return state.second > 1; });
    std::vector<PeerId> chosen;
    for (const Progress& peer : all) {
        const bool fits = is_shared ? named[{peer.step, peer.digest}] > 1 : peer.step == step;
        if (fits) chosen.push_back(peer.peer);
    }
    return chosen;
}

/// Downloads the swarm's state once. Returns false if that failed: then the swarm is judged anew after a
/// pause.
awaitable<bool> Trainer::synchronise() {
    const SwarmView view = progress_.view();
    const bool lost_ahead = !is_behind() && is_lost_ahead();
    const std::optional<StateClaim> claim = rival();
    const bool chasing = std::exchange(chasing_, false) && !is_behind() && !lost_ahead && claim;
    const bool diverged = !is_behind() && !lost_ahead && !chasing;
    Step target = lost_ahead ? view.crowd : chasing ? claim->step : view.step;
    if (diverged) {
        observer_.on_trouble(ErrorKind::corrupted, "this peer's state of step " +
                                                       std::to_string(value(step_)) +
                                                       " differs from that of most others: taking theirs");
    } else if (lost_ahead) {
        observer_.on_trouble(ErrorKind::corrupted, "this peer is at step " + std::to_string(value(step_)) +
                                                       ", the swarm at " + std::to_string(value(target)) +
                                                       ": taking the swarm's state");
    }
    std::vector<PeerId> from = chasing ? claimants_of(*claim) : donors(target, diverged);
    if (lost_ahead) {
        std::erase_if(from, [&](const PeerId& donor) {
            for (const Progress& peer : progress_.peers()) {
                if (peer.peer == donor) return peer.step >= step_;
            }
            return true;
        });
    }
    const bool was_training = training_;
    training_ = false;
    const auto ask_to_be_waited_for = [&](double bytes) {
        const bool may_ask = (is_behind() || chasing) && downloads_since_round_ > 0;
        arriving_at_ = may_ask && come_in_time(bytes) ? std::optional(target) : std::nullopt;
        report();
    };
    ask_to_be_waited_for(will_replay() ? replay_bytes() : static_cast<double>(state_bytes_));
    DownloadReport download;
    std::string failure;
    bool is_worse = false;
    try {
        const bool follows = !diverged && !lost_ahead && !chasing;
        const bool caught_up = follows && co_await replay(download);
        if (!caught_up) {
            if (follows && is_behind()) {  // it may have taken long
                target = progress_.view().step;
                from = donors(target, false);
            }
            ask_to_be_waited_for(static_cast<double>(state_bytes_));
            const std::function<void(std::size_t, std::size_t)> nobody;
            StatePointer state =
                co_await download_state(network_, clock_, transfer_, from, target, nobody, download, log_);
            check_offer(*state, target, download);
            learn_line(download);
            const bool taken = co_await adopt(state);
            is_worse = !taken;
            if (is_worse) failure = "the state on offer is worse than this peer's";
            if (taken && follows) co_await replay(download);  // it has taken longer than a step
        }
    } catch (const Error& error) {
        if (error.kind() == ErrorKind::cancelled) throw;
        failure = error.what();
        observer_.on_trouble(error.kind(), failure);
    }
    arriving_at_.reset();
    if (failure.empty()) {
        failed_downloads_ = 0;
        ++downloads_since_round_;
        bytes_received_ += download.bytes;
        training_ = true;
        report();
        observer_.on_synchronised(step_, download);
        co_return true;
    }
    // Who could not show the state that it claims is not believed for a while; nor is a step that only a few
    // claim. The crowd, though, is believed: it was only out of reach.
    ++failed_downloads_;
    const double growth = static_cast<double>(1U << std::min(failed_downloads_, 8U));
    const Duration pause = from_seconds(std::min(60.0, 0.25 * growth));
    for (const PeerId& donor : download.pretenders)
        progress_.doubt(donor, std::min<Duration>(pause * 20, 60s));
    if (is_worse) {
        doubt_for_long(download.donors, target);
    } else if (view.crowd < target || chasing) {
        for (const PeerId& donor : from) progress_.doubt(donor, pause * 4);
    }
    training_ = was_training;
    report();
    const std::uint64_t step_now = static_cast<std::uint64_t>(value(progress_.view().step));
    std::function<bool()> news = [this, step_now] {
        return static_cast<std::uint64_t>(value(progress_.view().step)) != step_now || !needs_state();
    };
    co_await wait_until(std::move(news), clock_.now() + std::min<Duration>(pause, 5s));
    co_return false;
}

// Donors train on while they are asked, so the state may be a little later; but a step that nobody else knows
// of is believed no more here than in a record.
void Trainer::check_offer(const State& state, Step target, DownloadReport& download) const {
    constexpr std::int64_t kTrainedMeanwhile = 16;
    const std::int64_t known = std::max(value(target), value(progress_.view().step));
    if (value(state.step) <= known + kTrainedMeanwhile && state.step <= settings_.last_step) return;
    download.pretenders = download.donors;
    throw Error(ErrorKind::corrupted, "the state on offer claims to be of step " +
                                          std::to_string(value(state.step)) + ", the swarm is at " +
                                          std::to_string(known));
}

}  // namespace shoal::collective
