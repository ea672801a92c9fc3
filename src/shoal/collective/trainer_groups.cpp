// What is different for a peer whose swarm averages in groups. There is no one history: a state that is a few
// steps old will do, as what its next group holds replaces it. So a peer that is late takes the step's number
// and goes on; and what it has computed counts for the step at which it arrives, once. Its parameters do not:
// they are of a time when peers were further apart, and would pull its group back to it.
#include <algorithm>
#include <memory>
#include <utility>

#include "shoal/collective/trainer.h"

namespace shoal::collective {

using namespace std::chrono_literals;

namespace {

/// Steps behind from which on a state is downloaded.
constexpr std::int64_t kFewSteps = 16;
/// Steps for which a gradient is worth something.
constexpr std::int64_t kFreshSteps = 4;
/// For how long the members of a round are asked whether it was averaged.
constexpr Duration kDoubtLasts = 5s;
/// Steps after which peers that meet none but each other are the swarm.
constexpr int kStepsAmongLate = 4;
/// For the others to fill the batch, beyond the time that they should need.
constexpr Duration kSlack = 250ms;

}  // namespace

/// True if the swarm is at another step, and this peer can just go there.
bool Trainer::may_catch_up() const {
    if (!settings_.in_groups || !training_) return false;
    const std::int64_t behind = value(progress_.view().step) - value(step_);
    return behind != 0 && behind <= kFewSteps;
}

/// Takes this peer's state for that of the swarm's step. Its gradient stays what it was, so its samples count
/// there, unless they are too old, or may count already.
awaitable<void> Trainer::catch_up() {
    const Turn::Guard guard = co_await turn_.take();
    const Step target = std::min(progress_.view().step, settings_.last_step);
    const bool keeps_samples =
        !averager_.in_doubt() && target > step_ && value(target) - value(step_) <= kFreshSteps;
    if (!keeps_samples) compute_.discard();
    const Accumulated kept = keeps_samples ? current_ : Accumulated();
    compute_.renumber(target);
    if (target != step_) origin_ = Origin::long_ago;
    step_ = target;
    empty_accumulator();
    current_ = kept;
    carries_ = value(kept.samples) > 0;
    averager_.forget_doubt();
    no_quorum_since_.reset();
    report();
}

/// With samples in hand, a peer begins no micro-batch that would end after the batch is full: it would miss
/// the round that its samples are for. Returns true if there is nothing to compute for.
awaitable<bool> Trainer::others_fill_the_batch() {
    if (!settings_.in_groups || must_compute_ || value(current_.samples) == 0) co_return false;
    const Duration needed = progress_.filled_by_quicker();
    // Old parameters weigh no more than those of others: who has missed a round brings to the next one what
    // it has.
    if (!carries_ && seconds(needed) >= micro_batch_seconds_) co_return false;
    std::function<bool()> over = [this] { return progress_.batch_is_full() || is_called_away(); };
    co_return co_await wait_until(std::move(over), clock_.now() + needed + kSlack);
}

/// Rounds are unrelated: no quorum is needed. But nobody is in two: a peer that holds all results and hears
/// no verdict asks for it for a while, whatever the swarm does meanwhile.
void Trainer::adapt_to_groups(RoundRequest& request) const {
    request.needs_quorum = false;
    request.state_tail = request.contribution.size() / 2;  // the parameters (group_compute.h)
    request.state_counts = origin_ == Origin::step_before;
    request.weight = std::min(request.weight, progress_.plausible_weight(network_.self(), step_));
    request.may_take_part = [weak = weak_from_this(), step = step_](const PeerId& peer) {
        const auto self = weak.lock();
        return self && self->progress_.may_take_part(peer, step);
    };
    const auto asked_since = std::make_shared<std::optional<TimePoint>>();
    request.give_up = [weak = weak_from_this(), asked_since] {
        const auto self = weak.lock();
        if (!self) return true;
        if (!*asked_since) *asked_since = self->clock_.now();
        return self->clock_.now() - **asked_since >= kDoubtLasts;
    };
}

/// The mean of old parameters, or of a lone peer's own, is an old one, too: it does not count because of the
/// step that was taken from there. Unless there is no other for long.
void Trainer::note_origin(const Verdict& verdict, bool applied) {
    const auto is_own = [this](const Contributor& member) { return member.peer == network_.self(); };
    const auto own = std::find_if(verdict.contributors.begin(), verdict.contributors.end(), is_own);
    const bool counted = own != verdict.contributors.end() && own->state_counts;
    const bool among_late = origin_ != Origin::step_before && counted;
    steps_among_late_ = among_late ? steps_among_late_ + 1 : 0;
    if (!applied)
        origin_ = Origin::long_ago;
    else if (!among_late || steps_among_late_ >= kStepsAmongLate)
        origin_ = Origin::step_before;
}

/// What may have been averaged is not offered again.
awaitable<void> Trainer::leave_group(const Verdict& verdict) {
    if (verdict.swarm_step) progress_.heard_of(*verdict.swarm_step);
    const bool others_have_averaged = verdict.digest != Fingerprint();
    if (!averager_.in_doubt() && !others_have_averaged) co_return;
    const Turn::Guard guard = co_await turn_.take();
    observer_.on_trouble(ErrorKind::timed_out,
                         "the round of step " + std::to_string(value(step_)) +
                             " may have been averaged without us: our samples of it are dropped");
    compute_.discard();
    current_ = Accumulated();
    averager_.forget_doubt();
}

}  // namespace shoal::collective
