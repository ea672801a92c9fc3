// How a peer that holds a state of the swarm which others have left behind takes their steps after them: it
// fetches the averages of these steps, which take less time than the state, let alone the state again and
// again.
//
// Whom it believes. It begins only with a state for which several others vouch (Trainer::is_vouched_for), and
// keeps what a step makes of it only if several vouch for that, too: so an average may come from anybody. A
// step that does not pass takes back all that were taken here, and whoever brought the average is not asked
// again for a long time.
#include <algorithm>
#include <limits>

#include "shoal/collective/average_transfer.h"
#include "shoal/collective/progress_book.h"
#include "shoal/collective/trainer.h"

namespace shoal::collective {

using namespace std::chrono_literals;

namespace {

/// For how long nobody believes whom a wrong average came from.
constexpr Duration kBad = 10min;
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

/// True if the swarm has gone on from our state by few steps, and others have said what the next one led to.
bool Trainer::may_replay() const {
    StateClaim own, following;
    own.step = step_;
    own.digest = digest_;
    following.step = next(step_);
    const Vouchers known = progress_.vouchers(following);
    const std::int64_t behind = steps_behind();
    return behind > 0 && behind <= static_cast<std::int64_t>(kKeptAverages) && is_vouched_for(own) &&
           known.agree + known.differ >= 2;
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
    const std::int64_t behind_at_first = steps_behind();
    std::size_t failures = 0, taken = 0;
    StatePointer start;
    while (is_behind() && failures < 2 && may_replay()) {
        const std::vector<PeerId> donors = replay_donors();
        if (donors.empty()) break;
        const PeerId donor = donors[(taken + failures) % donors.size()];
        bool good = false;
        try {
            const TimePoint asked = clock_.now();
            const KeptAverage average =
                co_await fetch_average(network_, clock_, transfer_.run, donor, step_,
                                       compute_.gradient_elements(), patience_for_average());
            report.bytes += average.encoded.size();
            if (!average.skipped) average_bytes_ = average.encoded.size();
            // One donor may be slower than our line, never faster.
            const double took = seconds(clock_.now() - asked);
            if (took > 0)
                line_rate_ = std::max(line_rate_, static_cast<double>(average.encoded.size()) / took);
            good = co_await take_step(average, start);
        } catch (const Error& error) {
            if (error.kind() == ErrorKind::cancelled) throw;
            observer_.on_trouble(error.kind(), error.what());
            ++failures;
            continue;
        }
        if (!good) {
            observer_.on_trouble(ErrorKind::corrupted,
                                 "an average from peer " + donor.short_name() +
                                     " leads to a state that others do not hold: not taken");
            progress_.doubt(donor, kBad);
            break;
        }
        ++taken;
        if (std::find(report.donors.begin(), report.donors.end(), donor) == report.donors.end())
            report.donors.push_back(donor);
        network_.mark_useful(donor);
        const bool may_ask = downloads_since_round_ > 0 || taken >= kAskAfter;
        arriving_at_ = may_ask && come_in_time(replay_bytes()) ? std::optional(step_) : std::nullopt;
        this->report();
        // The swarm steps faster than its averages come, and does not wait: the state will be no farther
        // behind.
        if (!arriving_at_ && taken >= kAskAfter && steps_behind() >= behind_at_first) break;
    }
    report.seconds += seconds(clock_.now() - begin);
    co_return taken > 0 && !is_behind();
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

/// Takes one step with an average of others. Returns false, and this peer is back at `start`, if nobody
/// vouches for what it leads to.
/// @param start  the state before the first of these steps; copied here if there is none yet
awaitable<bool> Trainer::take_step(const KeptAverage& average, StatePointer& start) {
    const Turn::Guard guard = co_await turn_.take();
    if (!start) start = co_await compute_.snapshot(step_);
    if (average.skipped)  // what the others had was not finite either
        std::fill(result_.begin(), result_.end(), std::numeric_limits<float>::quiet_NaN());
    else
        decode_average(average.encoded, average.half, result_);
    const Step before = step_;
    const bool applied = co_await compute_.apply(before, result_);
    if (!applied) compute_.discard();
    step_ = next(before);
    digest_ = co_await compute_.digest();
    empty_accumulator();
    StateClaim claim;
    claim.step = step_;
    claim.digest = digest_;
    if (!is_vouched_for(claim)) {
        co_await compute_.load(start);
        step_ = start->step;
        digest_ = co_await compute_.digest();
        history_->clear();
        co_return false;
    }
    history_->add(before, result_, !applied);
    companions_.arrive();
    averager_.forget_doubt();
    no_quorum_since_.reset();
    co_return true;
}

}  // namespace shoal::collective
