#include "shoal/collective/trainer.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "shoal/collective/average_transfer.h"
#include "shoal/collective/progress_book.h"
#include "shoal/collective/swarm_rules.h"

namespace shoal::collective {

using namespace std::chrono_literals;

Duration retry_pause(const PeerId& self, Step step, unsigned failures) {
    constexpr unsigned kAtOnce = 3;
    if (failures <= kAtOnce) return Duration::zero();
    const double longest = std::min(2.0, 0.05 * std::pow(2.0, std::min(failures - kAtOnce, 10U)));
    const Fingerprint dice =
        fingerprint(self.bytes(), static_cast<std::uint64_t>(value(step)) * 1000 + failures);
    return from_seconds(longest * static_cast<double>(dice.low >> 11) * 0x1p-53);
}

Trainer::Trainer(net::Network& network, Clock& clock, Averager& averager, ProgressTracker& progress,
                 Compute& compute, StateTransferSettings transfer, TrainingSettings settings,
                 TrainingObserver& observer, Log log)
    : network_(network),
      clock_(clock),
      averager_(averager),
      progress_(progress),
      compute_(compute),
      transfer_(std::move(transfer)),
      settings_(std::move(settings)),
      observer_(observer),
      log_(std::move(log)),
      turn_(network.executor()),
      companions_(!settings_.in_groups),
      role_(network.self(), static_cast<double>(value(settings_.target_batch_size)),
            settings_.delayed ? Overlap::delayed : Overlap::none) {
    // A state is the parameters, the optimizer's moments and a little more; a donor that offers far more is
    // refused before memory is spent on it.
    constexpr std::size_t kCopies = 16, kMore = std::size_t{64} << 20;
    const std::size_t plausible = compute_.gradient_elements() * sizeof(float) * kCopies + kMore;
    transfer_.maximum_state_bytes = std::min(transfer_.maximum_state_bytes, plausible);
}

awaitable<void> Trainer::run(Step start) {
    step_ = start;
    result_.assign(compute_.gradient_elements(), 0.0F);
    tensors_ = compute_.tensor_sizes();
    digest_ = co_await compute_.digest();
    StateProvider provide = [weak = weak_from_this()] { return snapshot(weak); };
    StepTeller own_step = [weak = weak_from_this()] {
        const auto self = weak.lock();
        return self ? self->step_ : Step{};
    };
    donor_ = make_state_donor(network_, clock_, transfer_, std::move(provide), std::move(own_step), log_);
    serve_averages(network_, clock_, transfer_.run, history_);
    std::exception_ptr failure;
    try {
        co_await join_and_train();
    } catch (...) {
        failure = std::current_exception();
    }
    // A copy for others that is under way keeps this object; nobody but us ends it.
    donor_.reset();
    stop_serving_averages(network_, transfer_.run);
    if (failure) std::rethrow_exception(failure);
}

awaitable<void> Trainer::join_and_train() {
    co_await progress_.start();
    co_await join_run();
    training_ = true;
    last_step_at_ = clock_.now();
    report();
    co_await train();
    co_await stay_for_the_last();
    co_await progress_.stop();
}

awaitable<void> Trainer::train() {
    TaskGroup watch(network_.executor());
    if (!settings_.in_groups) watch.spawn(watch_rivals());
    std::exception_ptr failure;
    try {
        co_await take_steps();
    } catch (...) {
        failure = std::current_exception();
    }
    watch.cancel();
    co_await asio::this_coro::throw_if_cancelled(false);
    const bool cancelled = co_await run_to_end(watch.settle());
    if (failure) std::rethrow_exception(failure);
    if (cancelled) throw Error(ErrorKind::cancelled, "the training was cancelled");
}

awaitable<void> Trainer::take_steps() {
    while (step_ < settings_.last_step) {
        if (may_catch_up()) {
            co_await catch_up();
        } else if (needs_state() || (chasing_ && has_rival())) {
            co_await synchronise();
        } else if (candidate_ && has_rival()) {
            co_await weigh_candidate();
        } else if (role_.rests() && !must_compute_ && !progress_.batch_is_full()) {
            co_await rest();
        } else if (must_compute_ || !progress_.batch_is_full()) {
            co_await accumulate();
        } else {
            co_await average();
        }
    }
}

awaitable<void> Trainer::accumulate() {
    const bool is_full_without_us = co_await others_fill_the_batch();
    if (!is_full_without_us) co_await micro_batch(current_);
}

awaitable<void> Trainer::micro_batch(Accumulated& place) {
    if (settings_.probe) settings_.probe(Phase::compute, step_);
    const TimePoint begin = clock_.now();
    MicroBatchResult result;
    {
        const Turn::Guard guard = co_await turn_.take();
        result = co_await compute_.micro_batch();
    }
    must_compute_ = false;
    const double took = std::max(result.seconds, seconds(clock_.now() - begin));
    micro_batch_seconds_ = micro_batch_seconds_ == 0 ? took : 0.7 * micro_batch_seconds_ + 0.3 * took;
    if (result.dropped || value(result.samples) <= 0) {
        observer_.on_trouble(ErrorKind::bad_input,
                             "the gradients of a micro-batch were not finite: it was dropped");
    } else {
        place.samples += result.samples;
        place.loss_sum += result.loss * static_cast<double>(value(result.samples));
        speed_.update(result.samples, result.seconds > 0 ? result.seconds : took);
    }
    if (!held_) report();  // what is computed ahead is told with the step that it counts for
    for (const Progress& peer : progress_.peers()) {
        if (peer.peer != network_.self()) continue;
        observer_.on_micro_batch(result, peer);
        break;
    }
}

bool Trainer::companions_are_here() const {
    const std::vector<Progress> live = progress_.peers();
    const auto present = [&](const PeerId& peer) {
        const auto found =
            std::find_if(live.begin(), live.end(), [&](const Progress& p) { return p.peer == peer; });
        return found != live.end();
    };
    const auto has_left = [&](const PeerId& peer) { return progress_.has_left(peer, step_); };
    return companions_.are_quorate(present, has_left);
}

Lineage Trainer::lineage() const {
    return companions_.lineage([this](const PeerId& peer) { return progress_.has_left(peer, step_); });
}

/// To be asked while there is no quorum.
bool Trainer::is_quorum_lost() {
    if (!no_quorum_since_) no_quorum_since_ = clock_.now();
    return clock_.now() - *no_quorum_since_ >= settings_.lost_quorum_timeout;
}

void Trainer::go_on_without() {
    observer_.on_trouble(ErrorKind::timed_out,
                         "most of the last round's members stay away: going on without them");
    companions_.begin_anew();
    averager_.forget_doubt();
    no_quorum_since_.reset();
}

/// Returns true when a round may begin; false when the swarm is found to be elsewhere.
awaitable<bool> Trainer::wait_for_companions() {
    if (companions_are_here()) co_return true;
    observer_.on_trouble(
        ErrorKind::unreachable,
        "too few of the last round's members are here; waiting for them, or for news of the swarm");
    std::function<bool()> found = [this] { return companions_are_here() || is_called_away(); };
    const bool lost_already = is_quorum_lost();
    const TimePoint deadline = *no_quorum_since_ + settings_.lost_quorum_timeout;
    const bool in_time = !lost_already && co_await wait_until(std::move(found), deadline);
    if (!in_time && has_rival()) {
        // Somebody says that the swarm has gone on without us. That is looked into before we do.
        std::function<bool()> is_known = [this] { return is_called_away() || !has_rival(); };
        co_await until(std::move(is_known));
        co_return false;
    }
    if (!in_time) go_on_without();
    co_return !is_called_away();
}

/// The peers at our step, and all companions: those that may still be taking the last step get the time for
/// it; those that are not to be heard of are not waited for.
std::vector<ExpectedPeer> Trainer::expected() const {
    std::vector<ExpectedPeer> all = progress_.expected(step_);
    if (companions_.last().empty()) return all;
    const std::vector<Progress> live = progress_.peers();
    for (const PeerId& companion : companions_.last()) {
        const auto is_it = [&companion](const auto& other) { return other.peer == companion; };
        const bool listed = std::any_of(all.begin(), all.end(), is_it);
        if (listed || companion == network_.self() || progress_.has_left(companion, step_)) continue;
        ExpectedPeer one;
        one.peer = companion;
        one.ready_by = decided_at_;
        const auto known = std::find_if(live.begin(), live.end(), is_it);
        if (known != live.end()) {
            one.role = known->role;
            const bool still_applies = known->training && next(known->step) == step_;
            const double patience = 0.25 + 3 * apply_seconds_ + 2 * known->micro_batch_seconds;
            const double granted = std::min(patience, kLongestPromise) * progress_.trust(companion);
            if (still_applies) one.ready_by = decided_at_ + from_seconds(granted);
        }
        all.push_back(one);
    }
    return all;
}

awaitable<void> Trainer::average() {
    const bool may_begin = co_await wait_for_companions();
    if (!may_begin) co_return;
    std::span<const float> mine;
    if (value(current_.samples) > 0 || settings_.in_groups) {
        const Turn::Guard guard = co_await turn_.take();
        mine = co_await compute_.contribution();
    } else {
        nothing_.resize(compute_.gradient_elements());
        mine = nothing_;
    }
    waiting_ = true;
    report();
    RoundRequest request;
    request.step = step_;
    request.attempt = attempt_;
    request.contribution = mine;
    request.tensors = tensors_;
    request.result = result_;
    request.weight =
        std::min(static_cast<double>(value(current_.samples)), maximum_weight(settings_.target_batch_size));
    request.excluded = excluded_;
    request.expected = [weak = weak_from_this()] {
        const auto self = weak.lock();
        return self ? self->expected() : std::vector<ExpectedPeer>();
    };
    request.lineage = [weak = weak_from_this()] {
        const auto self = weak.lock();
        return self ? self->lineage() : Lineage();
    };
    request.is_over = [weak = weak_from_this()] {
        const auto self = weak.lock();
        return self && self->is_called_away();
    };
    request.give_up = [weak = weak_from_this()] {
        const auto self = weak.lock();
        return !self || self->is_quorum_lost() || self->is_called_away();
    };
    if (settings_.in_groups) adapt_to_groups(request);
    Verdict verdict;
    try {
        verdict = co_await run_round(std::move(request));
    } catch (...) {
        // A goodbye that follows says whether this peer may have taken the step (Progress::waiting).
        waiting_ = averager_.in_doubt() || is_decided_;
        report();
        throw;
    }
    bytes_sent_ += verdict.report.bytes_sent;
    bytes_received_ += verdict.report.bytes_received;
    observer_.on_round(step_, verdict);
    keep_score(verdict);
    // In doubt, too: this batch has to be full for the round to go on. If that step turns out to be taken,
    // these samples are lost, as are those that any peer computes in doubt.
    if (!is_decided_) merge_ahead();
    switch (verdict.outcome) {
        case Verdict::Outcome::averaged:
            co_await apply(verdict);  // until it is taken, a goodbye has to say that it may have been
            co_return;
        case Verdict::Outcome::failed:
            on_failed(verdict);
            break;
        case Verdict::Outcome::cut_off:
            if (settings_.in_groups) co_await leave_group(verdict);
            on_cut_off(verdict);
            break;
    }
    waiting_ = false;
    report();
    co_await back_off();
}

void Trainer::keep_score(const Verdict& verdict) {
    if (verdict.contributors.empty()) return;
    std::vector<PeerId> members;
    for (const Contributor& member : verdict.contributors) members.push_back(member.peer);
    progress_.keep_score(step_, members);
}

// The same gradients are offered again at once. The lost peers' samples no longer count, so if the batch is
// no longer full the swarm first fills it up: a step has its target batch, whoever dies.
void Trainer::on_failed(const Verdict& verdict) {
    no_quorum_since_.reset();
    for (const PeerId& lost : verdict.lost) {
        if (lost == network_.self()) continue;
        if (std::find(excluded_.begin(), excluded_.end(), lost) == excluded_.end()) excluded_.push_back(lost);
        if (!network_.is_connected(lost)) progress_.forget(lost);
    }
    attempt_ = std::max(attempt_, verdict.attempt) + 1;
    ++failures_;
    must_compute_ = value(current_.samples) == 0 && !role_.rests();
    log_.info("round of step " + std::to_string(value(step_)) + " failed: " + verdict.cause);
}

void Trainer::on_cut_off(const Verdict& verdict) {
    const bool wants_members = verdict.contributors.empty() || averager_.in_doubt();
    if (!wants_members || settings_.in_groups)
        no_quorum_since_.reset();
    else if (is_quorum_lost() && !is_behind() && !has_rival())
        go_on_without();
    attempt_ = std::max(attempt_, verdict.attempt) + 1;
    ++failures_;
    observer_.on_trouble(ErrorKind::connection_lost, "cut off from the round of step " +
                                                         std::to_string(value(step_)) + ": " + verdict.cause);
}

awaitable<void> Trainer::back_off() {
    const Duration pause = retry_pause(network_.self(), step_, failures_);
    if (pause == Duration::zero()) co_return;
    std::function<bool()> away = [this] { return is_called_away(); };
    co_await wait_until(std::move(away), clock_.now() + pause);
}

double Trainer::own_loss() const {
    return value(current_.samples) > 0 ? current_.loss_sum / static_cast<double>(value(current_.samples))
                                       : last_loss_;
}

double Trainer::swarm_loss(const Verdict& verdict) const {
    double sum = 0, weight = 0;
    const std::vector<Progress> live = progress_.peers();
    for (const Contributor& member : verdict.contributors) {
        if (!(member.weight > 0)) continue;
        for (const Progress& peer : live) {
            if (peer.peer != member.peer) continue;
            sum += member.weight * peer.loss;
            weight += member.weight;
        }
    }
    return weight > 0 ? sum / weight : own_loss();
}

// All members hold the same average and the same state, so they find the same when either is not finite: all
// skip the update and all count the step, and the next batch belongs to the next step everywhere.
awaitable<void> Trainer::apply(const Verdict& verdict) {
    companions_.averaged(verdict);
    no_quorum_since_.reset();
    decided_at_ = clock_.now();
    const double loss = own_loss(), loss_of_all = swarm_loss(verdict);
    bool applied = false;
    {
        const Turn::Guard guard = co_await turn_.take();
        applied = co_await compute_.apply(step_, result_);
        if (!applied) compute_.discard();
        if (!settings_.in_groups) history_->add(step_, result_, !applied);
        step_ = next(step_);
        if (settings_.in_groups) note_origin(verdict, applied);
        waiting_ = false;
        digest_ = co_await compute_.digest();
    }
    if (!applied) {
        observer_.on_trouble(ErrorKind::bad_input, "the average of step " + std::to_string(value(step_)) +
                                                       " was not finite: no peer applied it");
    }
    last_loss_ = loss;
    downloads_since_round_ = 0;
    const Accumulated next_batch = applied ? ahead_ : Accumulated();
    empty_accumulator();
    current_ = next_batch;
    apply_seconds_ = seconds(clock_.now() - decided_at_);
    choose_role(verdict);
    report();
    observer_.on_step(step_, loss, loss_of_all, seconds(clock_.now() - last_step_at_), digest_);
    last_step_at_ = clock_.now();
    if (settings_.evaluate_every > 0 && value(step_) % settings_.evaluate_every == 0) {
        double held_out = 0;
        {
            const Turn::Guard guard = co_await turn_.take();
            held_out = co_await compute_.held_out_loss();
        }
        observer_.on_held_out_loss(step_, held_out);
    }
}

void Trainer::drop_samples() {
    current_ = ahead_ = Accumulated();
    held_ = false;
}

void Trainer::empty_accumulator() {
    drop_samples();
    carries_ = false;
    attempt_ = 0;
    failures_ = 0;
    must_compute_ = false;
    excluded_.clear();
}

/// Who has finished stays a little while for those that are one step behind: they may need the state, or the
/// verdict.
awaitable<void> Trainer::stay_for_the_last() {
    std::function<bool()> all_done = [this] {
        for (const Progress& peer : progress_.peers()) {
            const bool has_arrived = peer.training && peer.step >= settings_.last_step;
            if (peer.role != Role::auxiliary && !has_arrived) return false;
        }
        return true;
    };
    co_await wait_until(std::move(all_done), clock_.now() + 10s);
}

void Trainer::report() {
    Progress own;
    own.name = settings_.name;
    own.role = settings_.role;
    own.step = arriving_at_.value_or(step_);
    own.samples = current_.samples;
    own.samples_per_second = role_.rests() ? 0 : speed_.samples_per_second();
    own.micro_batch_seconds = micro_batch_seconds_;
    own.training = training_;
    own.digest = digest_;
    own.loss = own_loss();
    own.bytes_sent = bytes_sent_;
    own.bytes_received = bytes_received_;
    own.waiting = waiting_ || arriving_at_.has_value();
    own.attempt = attempt_;
    progress_.set_companions(companions_.last());
    progress_.report(std::move(own));
}

awaitable<void> Trainer::until(std::function<bool()> condition) {
    while (!condition()) co_await progress_.changed().wait();
}

awaitable<bool> Trainer::wait_until(std::function<bool()> condition, TimePoint deadline) {
    awaitable<void> waiting = until(std::move(condition));
    co_return co_await detail::ends_in_time(clock_, deadline, std::move(waiting));
}

}  // namespace shoal::collective
