// Whose state replaces this peer's own. A state that several others have said they hold is taken as it is.
// Any other, as that of a single peer, is held against our own: the held-out loss must not be worse.
//
// A peer that trains, and whom nobody supports or whose rounds cannot begin, also looks at the state of those
// that contradict it: it may have missed a round of a swarm of two, have been away with others while the rest
// went on, or be the one whose memory is damaged. The download runs beside the
// training, which goes on; a lone claim costs the samples of one step when the state has come, no more. Whom
// a bad one came from is not asked again for a long time.
#include <algorithm>
#include <cmath>

#include "shoal/collective/trainer.h"

namespace shoal::collective {

using namespace std::chrono_literals;

namespace {

/// A contradiction that lasts less is news on its way: the others take the same step a moment later.
constexpr Duration kSettling = 500ms;
/// Without a round that could begin.
constexpr Duration kStranded = 1s;
/// Without contradiction: then it is over.
constexpr Duration kQuiet = 3s;
/// Steps that this peer may take while it downloads the other state of one.
constexpr std::int64_t kTrainedMeanwhile = 16;
/// For how long nobody listens to whom a bad state came from, and to who is merely out of reach.
constexpr Duration kBad = 10min, kUnreachable = 10s;

bool is_no_worse(double before, double after) {
    constexpr double kWorse = 1.2, kNoise = 0.1;
    if (!std::isfinite(before)) return true;  // ours has nothing to lose, or nobody has held-out data
    return std::isfinite(after) && after <= kWorse * before + kNoise;
}

}  // namespace

/// True if several others have said that they hold this state, more than hold another one of its step.
bool Trainer::is_vouched_for(const StateClaim& state) const {
    const SwarmView view = progress_.view();
    const Vouchers vouchers = progress_.vouchers(state);
    if (vouchers.agree < 2 || vouchers.agree <= vouchers.differ) return false;
    // Beyond the swarm's step only most of it can vouch.
    return state.step <= view.step || 2 * vouchers.agree >= view.voters;
}

/// Loads the state and makes it this peer's own, unless nobody vouches for it and it is worse: then all is as
/// it was, but for the samples of this step.
awaitable<bool> Trainer::adopt(StatePointer state) {
    const Turn::Guard guard = co_await turn_.take();
    const StatePointer own = co_await compute_.snapshot(step_);
    co_await compute_.load(state);
    StateClaim claim;
    claim.step = state->step;
    claim.digest = co_await compute_.digest();
    bool good = claim.digest == digest_ || is_vouched_for(claim);
    if (!good) {
        const double after = co_await compute_.held_out_loss();
        co_await compute_.load(own);
        const double before = co_await compute_.held_out_loss();
        good = is_no_worse(before, after);
        if (good) co_await compute_.load(state);
    }
    if (!good) {
        drop_samples();
        co_return false;
    }
    step_ = claim.step;
    digest_ = claim.digest;
    origin_ = Origin::download;
    history_->clear();
    empty_accumulator();
    companions_.arrive();
    averager_.forget_doubt();
    no_quorum_since_.reset();
    ahead_since_.reset();
    co_return true;
}

void Trainer::doubt_for_long(const std::vector<PeerId>& donors, Step step) {
    observer_.on_trouble(
        ErrorKind::corrupted,
        "a state of step " + std::to_string(value(step)) +
            " is on offer for which nobody else vouches, and which is worse on held-out data "
            "than this peer's: not taken");
    for (const PeerId& peer : donors) progress_.doubt(peer, kBad);
}

/// Those that name this very state.
std::vector<PeerId> Trainer::claimants_of(const StateClaim& state) const {
    std::vector<PeerId> all;
    for (const Progress& peer : progress_.peers()) {
        const bool names_it = peer.step == state.step && peer.digest == state.digest;
        if (names_it && peer.training && peer.role != Role::auxiliary && peer.peer != network_.self() &&
            !progress_.doubts(peer.peer))
            all.push_back(peer.peer);
    }
    return all;
}

/// The state to look at. The company of others that cannot begin a round either is none: the history may have
/// gone on without all of them.
std::optional<StateClaim> Trainer::rival() const {
    const SwarmView view = progress_.view();
    const bool is_stranded = no_quorum_since_ && clock_.now() - *no_quorum_since_ >= kStranded;
    return is_stranded ? view.contradiction : view.rival;
}

/// True when there is something better to do than to wait for a round.
bool Trainer::is_called_away() const {
    return is_behind() || (has_rival() && (candidate_ != nullptr || chasing_));
}

awaitable<void> Trainer::watch_rivals() {
    const std::function<bool()> appears = [this] { return has_rival(); };
    const std::function<bool()> goes = [this] { return !has_rival(); };
    for (;;) {
        std::function<bool()> condition = appears;
        co_await until(std::move(condition));
        // Another state of our own step is no news on its way.
        if (rival()->step > step_) {
            condition = goes;
            const bool was_a_moment = co_await wait_until(std::move(condition), clock_.now() + kSettling);
            if (was_a_moment) continue;
        }
        if (downloads_since_round_ > 0) {
            chasing_ = true;  // it is too fast for us, unless we ask it to wait: synchronise() does
            progress_.changed().notify();
        } else {
            co_await fetch_candidate();
        }
        co_await until_settled();
        candidate_.reset();
        chasing_ = false;
    }
}

/// Until what was found has been looked at, or nobody has contradicted us for a while. Who holds another
/// state and steps with us does so with interruptions.
awaitable<void> Trainer::until_settled() {
    const std::function<bool()> is_used = [this] { return candidate_ == nullptr && !chasing_; };
    const std::function<bool()> goes = [this, is_used] { return is_used() || !has_rival(); };
    const std::function<bool()> returns = [this, is_used] { return is_used() || has_rival(); };
    while (!is_used()) {
        std::function<bool()> condition = goes;
        co_await until(std::move(condition));
        condition = returns;
        const bool again = co_await wait_until(std::move(condition), clock_.now() + kQuiet);
        if (!again) co_return;
    }
}

awaitable<void> Trainer::fetch_candidate() {
    const std::optional<StateClaim> claim = rival();
    if (!claim) co_return;
    const std::vector<PeerId> from = claimants_of(*claim);
    const Step begun_at = step_;
    DownloadReport download;
    Duration doubt_for = Duration::zero();
    try {
        const std::function<void(std::size_t, std::size_t)> nobody;
        StatePointer state =
            co_await download_state(network_, clock_, transfer_, from, claim->step, nobody, download, log_);
        check_offer(*state, claim->step, download);
        // The other state of a step is worth a look even if we have gone on meanwhile; an older one is not.
        candidate_may_lag_ = claim->step == begun_at ? kTrainedMeanwhile : 0;
        candidate_ = std::move(state);
        candidate_download_ = download;
        progress_.changed().notify();
    } catch (const Error& error) {
        if (error.kind() == ErrorKind::cancelled) throw;
        observer_.on_trouble(error.kind(), error.what());
        doubt_for = download.pretenders.empty() ? kUnreachable : kBad;
    }
    if (doubt_for == Duration::zero()) co_return;
    for (const PeerId& peer : from) progress_.doubt(peer, doubt_for);
}

awaitable<void> Trainer::weigh_candidate() {
    const StatePointer state = std::exchange(candidate_, nullptr);
    const DownloadReport download = candidate_download_;
    if (value(state->step) + candidate_may_lag_ < value(step_)) co_return;
    bool taken = false;
    try {
        taken = co_await adopt(state);
        if (!taken) doubt_for_long(download.donors, state->step);
    } catch (const Error& error) {
        if (error.kind() == ErrorKind::cancelled) throw;
        observer_.on_trouble(error.kind(), error.what());
        for (const PeerId& peer : download.donors) progress_.doubt(peer, kBad);
    }
    report();
    if (!taken) co_return;
    ++downloads_since_round_;
    bytes_received_ += download.bytes;
    observer_.on_synchronised(step_, download);
}

}  // namespace shoal::collective
