// How a peer that holds a state of the swarm which others have left behind takes their steps after them: it
// fetches the averages of these steps, which take less time than the state, let alone the state again and
// again.
//
// Whom it believes. It begins only with a state for which several others vouch (Trainer::is_vouched_for), and
// takes a step only if several vouch for what the step must lead to, before it fetches the average. If the
// average leads elsewhere, the step is undone, whoever brought it is not asked again for a long time, and the
// next peer is. What it must lead to is known by its digest, a fast hash that finds accidents and most lies:
// who can choose all of an average may be able to make another state with that digest. (Not so for a state
// that is downloaded: its root is SHA-256.)
#include <algorithm>
#include <limits>
#include <optional>

#include "shoal/collective/average_transfer.h"
#include "shoal/collective/progress_book.h"
#include "shoal/collective/trainer.h"

namespace shoal::collective {

using namespace std::chrono_literals;

namespace {

/// For how long nobody believes whom a wrong average came from.
constexpr Duration kBad = 10min;
/// After so many steps in a row that did not bring it nearer to the swarm, it downloads the state.
constexpr std::size_t kInVain = 4;
/// Averages that could not be fetched, or were wrong, until it downloads the state.
constexpr std::size_t kFailures = 3;
/// Steps after which a peer that is still behind asks the swarm to wait for it.
constexpr std::size_t kAskAfter = 2;

}  // namespace

/// Peers that train and have taken the step that follows ours, beginning after our own PeerId, so that those
/// that are behind spread over them.
std::vector<PeerId> Trainer::replay_donors() const {
    std::vector<PeerId> before, all;
    for (const Progress& peer : progress_.peers()) {
        const bool fits = peer.training && peer.role != Role::auxiliary && peer.step > step_;
        if (!fits || peer.peer == network_.self() || progress_.doubts(peer.peer)) continue;
        (peer.peer < network_.self() ? before : all).push_back(peer.peer);
    }
    all.insert(all.end(), before.begin(), before.end());
    return all;
}

/// If the swarm has gone on from our state by few steps: what the next one leads to, by the words of several.
std::optional<StateClaim> Trainer::may_replay() const {
    StateClaim own;
    own.step = step_;
    own.digest = digest_;
    const std::int64_t behind = steps_behind();
    const bool is_near = behind > 0 && behind <= static_cast<std::int64_t>(kKeptAverages);
    if (!is_near || !is_vouched_for(own)) return std::nullopt;
    const std::optional<StateClaim> following = progress_.named_by_most(next(step_));
    return following && is_vouched_for(*following) ? following : std::nullopt;
}

/// Not where the averages would come only when the swarm waits no longer, but the state in time.
bool Trainer::will_replay() const {
    const auto state = static_cast<double>(state_bytes_);
    return may_replay() && (state_bytes_ == 0 || come_in_time(replay_bytes()) || !come_in_time(state));
}

/// Takes the swarm's steps after it, as long as it is ahead and somebody has the averages. Returns true if
/// this peer has caught up. `report` counts what was fetched.
awaitable<bool> Trainer::replay(DownloadReport& report) {
    if (!will_replay()) co_return false;
    const TimePoint begin = clock_.now();
    std::int64_t nearest = steps_behind();
    std::size_t failures = 0, taken = 0, in_vain = 0;
    while (is_behind() && failures < kFailures && in_vain < kInVain) {
        const std::optional<StateClaim> following = may_replay();
        const std::vector<PeerId> donors = replay_donors();
        if (!following || donors.empty()) break;
        const PeerId donor = donors[(taken + failures) % donors.size()];
        try {
            const KeptAverage average = co_await fetch_from(donor, report);
            if (!co_await take_step(average, *following)) {
                observer_.on_trouble(ErrorKind::corrupted,
                                     "an average from peer " + donor.short_name() +
                                         " leads to a state that others do not hold: not taken");
                progress_.doubt(donor, kBad);
                ++failures;
                continue;
            }
        } catch (const Error& error) {
            if (error.kind() == ErrorKind::cancelled) throw;
            observer_.on_trouble(error.kind(), error.what());
            ++failures;
            continue;
        }
        ++taken;
        in_vain = steps_behind() < nearest ? 0 : in_vain + 1;
        nearest = std::min(nearest, steps_behind());
        if (std::find(report.donors.begin(), report.donors.end(), donor) == report.donors.end())
            report.donors.push_back(donor);
        network_.mark_useful(donor);
        const bool may_ask = downloads_since_round_ > 0 || taken >= kAskAfter;
        arriving_at_ = may_ask && come_in_time(replay_bytes()) ? std::optional(step_) : std::nullopt;
        this->report();
    }
    report.seconds += seconds(clock_.now() - begin);
    co_return taken > 0 && !is_behind();
}

/// Also learns what our line carries.
awaitable<KeptAverage> Trainer::fetch_from(PeerId donor, DownloadReport& report) {
    const TimePoint asked = clock_.now();
    KeptAverage average = co_await fetch_average(network_, clock_, transfer_.run, donor, step_,
                                                 compute_.gradient_elements(), patience_for_average());
    report.bytes += average.encoded.size();
    const double took = seconds(clock_.now() - asked);
    if (!average.skipped) average_bytes_ = average.encoded.size();
    if (!average.skipped && took > 0) {
        const double rate = static_cast<double>(average.encoded.size()) / took;
        line_rate_ = line_rate_ > 0 ? 0.5 * line_rate_ + 0.5 * rate : rate;
    }
    co_return average;
}

std::int64_t Trainer::steps_behind() const {
    return value(progress_.view().step) - value(step_);
}

double Trainer::replay_bytes() const {
    const std::size_t of_average =
        average_bytes_ > 0 ? average_bytes_ : compute_.gradient_elements() * sizeof(float);
    return static_cast<double>(steps_behind()) * static_cast<double>(of_average);
}

/// False if by what our line has carried these bytes would come only when the swarm waits no longer: to ask
/// it to wait would cost it time for nothing.
bool Trainer::come_in_time(double bytes) const {
    constexpr double kMargin = 0.8;
    return line_rate_ <= 0 || bytes <= kMargin * line_rate_ * seconds(kNewcomersGrant);
}

void Trainer::learn_line(const DownloadReport& download) {
    state_bytes_ = download.bytes;
    if (download.seconds > 0) line_rate_ = static_cast<double>(download.bytes) / download.seconds;
}

/// Twice what our line needs for an average, by what it has carried, so that no donor can make us wait for
/// long.
Duration Trainer::patience_for_average() const {
    const auto bytes = static_cast<double>(compute_.gradient_elements() * sizeof(float));
    return kPieceSlack + (line_rate_ > 0 ? from_seconds(2 * bytes / line_rate_) : kNewcomersGrant);
}

/// Takes one step with an average of others. Returns false, with all as it was, if it does not lead to where
/// it must.
awaitable<bool> Trainer::take_step(const KeptAverage& average, StateClaim following) {
    bool good = false;
    // Not to be cancelled in between: what is held then goes into a checkpoint.
    const bool cancelled = co_await run_to_end(try_step(average, following, good));
    if (cancelled) throw Error(ErrorKind::cancelled, "the training was cancelled");
    co_return good;
}

awaitable<void> Trainer::try_step(const KeptAverage& average, StateClaim following, bool& good) {
    const Turn::Guard guard = co_await turn_.take();
    const StatePointer before = co_await compute_.snapshot(step_);
    if (average.skipped)  // what the others had was not finite either
        std::fill(result_.begin(), result_.end(), std::numeric_limits<float>::quiet_NaN());
    else
        decode_average(average.encoded, average.half, result_);
    const bool applied = co_await compute_.apply(step_, result_);
    if (!applied) compute_.discard();
    const Fingerprint digest = co_await compute_.digest();
    empty_accumulator();
    good = digest == following.digest;
    if (!good) {
        co_await compute_.load(before);
        co_return;
    }
    history_->add(step_, result_, !applied);
    step_ = following.step;
    digest_ = digest;
    companions_.arrive();
    averager_.forget_doubt();
    no_quorum_since_.reset();
}

}  // namespace shoal::collective
