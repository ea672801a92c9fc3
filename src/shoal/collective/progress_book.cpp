#include "shoal/collective/progress_book.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "shoal/collective/report_pace.h"
#include "shoal/collective/swarm_rules.h"
#include "shoal/collective/waiting_worth.h"

namespace shoal::collective {

namespace {

// More peers than any run that one directory key serves, and than any group has, however wrong its members
// are about the swarm's size; a flood of made-up identities ends here.
constexpr std::size_t kMaximumPeers = 8192, kMaximumInGroup = 1024;

// Of one peer: a download may take as many steps until somebody has to vouch for what it brought.
constexpr std::size_t kRememberedClaims = 64;

bool asks_to_be_waited_for(const Progress& peer) {
    return peer.waiting && !peer.training && peer.role != Role::auxiliary;
}

}  // namespace

bool ProgressBook::accept(const ProgressRecord& record, Source source, Duration alive_for, TimePoint now) {
    const PeerId& peer = record.progress.peer;
    last_now_ = now;
    if (peer == self_ || alive_for <= Duration::zero()) return false;
    const TimePoint expires = now + std::min<Duration>(alive_for, settings_.time_to_live);

    const auto grave = tombstones_.find(peer);
    if (grave != tombstones_.end()) {
        // A forgotten peer that speaks to us again lives, even with its old words; the directory may only
        // echo them.
        const bool echo =
            record.sequence < grave->second.sequence || (record.sequence == grave->second.sequence &&
                                                         (source == Source::directory || grave->second.left));
        if (echo) return false;
    }
    const auto known = entries_.find(peer);
    if (record.goodbye) {
        if (known != entries_.end() && record.sequence <= known->second.sequence) return false;
        if (left_at_.size() >= kMaximumPeers && !left_at_.contains(peer)) left_at_.erase(left_at_.begin());
        left_at_[peer] = record.progress.step;
        remember_dead(peer, {record.sequence, true, now + settings_.time_to_live * 2});
        entries_.erase(peer);
        judge(now);
        return true;
    }
    const std::size_t places = settings_.group_size > 0 ? kMaximumInGroup : kMaximumPeers;
    if (known == entries_.end() && entries_.size() >= places) return false;
    if (known != entries_.end() && record.sequence <= known->second.sequence) {
        if (record.sequence == known->second.sequence)  // the same words, said again: it is still there
            known->second.expires = std::max(known->second.expires, expires);
        if (source == Source::directory || known->second.has_spoken) return false;
        known->second.has_spoken = true;
        judge(now);
        return true;
    }
    tombstones_.erase(peer);

    Entry entry;
    entry.progress = record.progress;
    entry.claimed = record.progress.samples;
    entry.sequence = record.sequence;
    entry.received = now;
    entry.first_at_step = now;
    entry.expires = expires;
    entry.has_spoken = source == Source::connection;
    if (known != entries_.end()) {
        Entry& before = known->second;
        entry.has_spoken = entry.has_spoken || before.has_spoken;
        entry.claims = std::move(before.claims);
        const bool same_step = before.progress.step == record.progress.step;
        if (same_step) entry.first_at_step = before.first_at_step;
        entry.at_step_since = same_step ? before.at_step_since : std::optional(before.received);
        entry.computes_since = same_step           ? before.computes_since
                               : settings_.delayed ? before.at_step_since
                                                   : entry.at_step_since;
        entry.expires = std::max(before.expires, expires);
    }
    const double computes_for =
        entry.computes_since ? seconds(now - *entry.computes_since) : std::numeric_limits<double>::infinity();
    entry.progress.samples = plausible_samples(record.progress, computes_for, settings_.target_batch_size);
    remember_claim(entry.claims, record.progress);
    entries_[peer] = std::move(entry);
    if (asks_to_be_waited_for(record.progress)) grant(peer, now);
    judge(now);
    return true;
}

void ProgressBook::grant(const PeerId& peer, TimePoint now) {
    if (!grant_ || grant_->since + kBetweenGrants <= now) grant_ = Grant{now, {}};
    if (now < grant_->since + kNewcomersGrant)
        grant_->peers.insert(peer);  // those who come together are waited for once
}

void ProgressBook::remember_claim(Claims& claims, const Progress& progress) {
    if (progress.role == Role::auxiliary || asks_to_be_waited_for(progress))
        return;  // it holds no such state
    std::erase_if(claims, [&](const StateClaim& claim) { return claim.step == progress.step; });
    claims.push_back({progress.step, progress.digest});
    if (claims.size() > kRememberedClaims) claims.pop_front();
}

bool ProgressBook::doubts(const PeerId& peer, TimePoint now) const {
    const auto found = doubted_.find(peer);
    return found != doubted_.end() && found->second > now;
}

Vouchers ProgressBook::vouchers(const StateClaim& state, TimePoint now) const {
    Vouchers vouchers;
    for (const auto& [peer, entry] : entries_) {
        if (doubts(peer, now)) continue;
        for (const StateClaim& claim : entry.claims) {
            if (claim.step == state.step) ++(claim.digest == state.digest ? vouchers.agree : vouchers.differ);
        }
    }
    return vouchers;
}

std::optional<StateClaim> ProgressBook::named_by_most(Step step, TimePoint now) const {
    std::map<Fingerprint, std::size_t> named;
    std::size_t all = 0;
    for (const auto& [peer, entry] : entries_) {
        if (doubts(peer, now)) continue;
        for (const StateClaim& claim : entry.claims) {
            if (claim.step != step) continue;
            ++named[claim.digest];
            ++all;
        }
    }
    for (const auto& [digest, count] : named)
        if (count >= 2 && 2 * count > all) return StateClaim{step, digest};
    return std::nullopt;
}

void ProgressBook::set_companions(std::vector<PeerId> members) {
    companions_ = std::move(members);
    std::sort(companions_.begin(), companions_.end());
}

void ProgressBook::remember_dead(const PeerId& peer, Tombstone tombstone) {
    if (tombstones_.size() >= kMaximumPeers && !tombstones_.contains(peer))
        tombstones_.erase(tombstones_.begin());
    tombstones_[peer] = tombstone;
}

double ProgressBook::plausible_weight(const PeerId& peer, Step step, TimePoint now) const {
    const auto known = entries_.find(peer);
    const bool says_nothing = known == entries_.end() || known->second.progress.step > step;
    if (says_nothing) return std::numeric_limits<double>::infinity();
    const Entry& entry = known->second;
    const bool of_this_step = entry.progress.step == step;
    const Samples claimed = of_this_step ? entry.claimed : Samples{};
    // With delayed averaging a join that overtakes its step's first record brings what was computed beside
    // the last round.
    const bool ahead = settings_.delayed && !of_this_step;
    if (ahead && !entry.at_step_since) return std::numeric_limits<double>::infinity();
    const TimePoint since = ahead ? *entry.at_step_since : entry.received;
    return collective::plausible_weight(claimed, entry.progress, seconds(now - since));
}

double ProgressBook::trust(const PeerId& peer, TimePoint now) const {
    return promises_->trust(peer, now);
}

bool ProgressBook::is_coming(const Progress& peer, Step step) const {
    return longest_wait_ > Duration::zero() && next(peer.step) == step && peer.training &&
           peer.role != Role::auxiliary;
}

// What takes longer than anybody is waited for comes with a later step, and counts there.
bool ProgressBook::will_come(const Progress& coming) const {
    return coming.micro_batch_seconds <= seconds(longest_wait_);
}

// However often it says so again. Who announces itself before this peer has begun the step cannot have worked
// for it either.
TimePoint ProgressBook::works_since(const Entry& coming) const {
    TimePoint since = coming.first_at_step;
    if (own_step_since_) since = std::max(since, *own_step_since_);
    return full_since_ ? std::min(since, *full_since_) : since;
}

void ProgressBook::keep_score(Step step, std::span<const PeerId> members, TimePoint now) {
    for (const auto& [peer, entry] : entries_) {
        const Progress& progress = entry.progress;
        const bool came = std::find(members.begin(), members.end(), peer) != members.end();
        const bool trains = progress.training && progress.role != Role::auxiliary;
        const bool promised = full_since_ && trains &&
                              (progress.step == step || (is_coming(progress, step) && will_come(progress)));
        if (came)
            promises_->kept(peer, now);
        else if (promised)
            promises_->broke(peer, now);
    }
    promises_->sweep(now);
}

bool ProgressBook::bury(const PeerId& peer, bool left) {
    const auto known = entries_.find(peer);
    if (known == entries_.end()) return false;
    remember_dead(peer, {known->second.sequence, left, last_now_ + settings_.time_to_live * 2});
    entries_.erase(known);
    judge(last_now_);
    return true;
}

bool ProgressBook::depart(const PeerId& peer) {
    return bury(peer, true);
}
bool ProgressBook::forget(const PeerId& peer) {
    return bury(peer, false);
}

bool ProgressBook::sweep(TimePoint now) {
    last_now_ = now;
    const std::size_t removed =
        std::erase_if(entries_, [&](const auto& e) { return e.second.expires <= now; });
    std::erase_if(tombstones_, [&](const auto& e) { return e.second.until <= now; });
    const std::size_t trusted = std::erase_if(doubted_, [&](const auto& e) { return e.second <= now; });
    if (removed + trusted == 0) return false;
    judge(now);
    return true;
}

TimePoint ProgressBook::next_expiry() const {
    TimePoint next = TimePoint::never();
    for (const auto& [peer, entry] : entries_) next = std::min(next, entry.expires);
    for (const auto& [peer, until] : doubted_) next = std::min(next, until);
    return next;
}

void ProgressBook::set_own(Progress own, TimePoint now) {
    if (own.step != own_.step || !own_step_since_) own_step_since_ = now;
    own_ = std::move(own);
    own_.peer = self_;
    last_now_ = now;
    judge(now);
}

void ProgressBook::share_batch(double swarm_size, TimePoint now) {
    swarm_size_ = swarm_size;
    last_now_ = now;
    judge(now);
}

Samples ProgressBook::target() const {
    if (!swarm_size_) return settings_.target_batch_size;
    const auto members = static_cast<double>(entries_.size() + 1);
    const double part =
        static_cast<double>(value(settings_.target_batch_size)) * members / std::max(*swarm_size_, members);
    return static_cast<Samples>(std::max<std::int64_t>(1, static_cast<std::int64_t>(part)));
}

// Those that need about as long as this peer may be waiting for the batch, too.
Duration ProgressBook::filled_by_quicker() const {
    constexpr double kQuicker = 0.5, kLongest = 86'400.0;
    const auto missing = static_cast<double>(value(target()) - value(view_.samples));
    double speed = 0;
    for (const auto& [peer, entry] : entries_) {
        const Progress& other = entry.progress;
        const bool works = other.training && other.role != Role::auxiliary && !other.waiting;
        const bool is_here = other.step == own_.step || is_coming(other, own_.step);
        if (works && is_here && other.micro_batch_seconds <= kQuicker * own_.micro_batch_seconds)
            speed += other.samples_per_second;
    }
    if (missing <= 0) return Duration::zero();
    return from_seconds(speed > 0 ? std::min(missing / speed, kLongest) : kLongest);
}

bool ProgressBook::has_left(const PeerId& peer, Step step) const {
    const auto left = left_at_.find(peer);
    return left != left_at_.end() && left->second == step;
}

std::vector<Progress> ProgressBook::peers() const {
    std::vector<Progress> all;
    all.reserve(entries_.size() + 1);
    bool own_is_in = false;
    for (const auto& [peer, entry] : entries_) {
        if (!own_is_in && self_ < peer) {
            all.push_back(own_);
            own_is_in = true;
        }
        all.push_back(entry.progress);
    }
    if (!own_is_in) all.push_back(own_);
    return all;
}

bool ProgressBook::has_company(TimePoint now) const {
    constexpr std::ptrdiff_t kCompany = 2;
    return std::count_if(entries_.begin(), entries_.end(), [&](const auto& known) {
               const Progress& progress = known.second.progress;
               return known.second.has_spoken && progress.training && progress.role != Role::auxiliary &&
                      !doubts(known.first, now);
           }) >= kCompany;
}

void ProgressBook::judge(TimePoint now) {
    const std::vector<Progress> live = peers();
    const bool company = has_company(now);
    const auto doubted = [&](const PeerId& peer) {
        const auto entry = entries_.find(peer);
        const bool is_hearsay = entry != entries_.end() && !entry->second.has_spoken;
        return doubts(peer, now) || (company && is_hearsay);
    };
    std::vector<PeerId> companions = companions_;
    std::erase_if(companions, [this](const PeerId& peer) { return has_left(peer, own_.step); });
    const Step before = view_.step;
    view_ = judge_swarm(live, own_, target(), companions, doubted);
    const bool full = judge_batch_full(view_, live, own_, target());
    if (!full || view_.step != before) full_since_.reset();
    if (full && !full_since_) full_since_ = now;
}

// Who waits is ready. A late peer will probably be ready a micro-batch after its last report; a majority is
// waited for whatever it costs, as no round begins without one. Speeds are what was counted in the time that
// the batch took here, or what is claimed where that is less: nobody can say that it is so fast that no other
// is worth waiting for.
std::optional<TimePoint> ProgressBook::end_of_waiting(Step step, TimePoint now) const {
    if (!settings_.adaptive_quorum || !full_since_ || !own_step_since_) return std::nullopt;
    constexpr double kShortestBatch = 0.001;
    const double filled_in = std::max(kShortestBatch, seconds(*full_since_ - *own_step_since_));
    // Whatever a late peer says of itself: nobody brings more than a batch.
    const auto batch_of = [whole = static_cast<double>(value(target()))](const Progress& peer) {
        return std::min(peer.micro_batch_seconds * peer.samples_per_second, whole);
    };
    std::vector<LatePeer> late;
    double ready_speed = 0, batch_speed = 0;
    std::size_t ready = 0, all = 0;
    const auto count = [&](const Progress& peer, TimePoint reported) {
        if (is_coming(peer, step)) {
            if (!will_come(peer)) return;
            const double until = seconds(reported - *full_since_) + peer.micro_batch_seconds;
            late.push_back({std::max(0.0, until), batch_of(peer)});
            return;
        }
        if (!peer.training || peer.role == Role::auxiliary || peer.step != step) return;
        const auto samples = static_cast<double>(value(peer.samples));
        const double speed = std::min(peer.samples_per_second, samples / filled_in);
        ++all;
        batch_speed += speed;
        if (peer.waiting) {
            ++ready;
            ready_speed += speed;
            return;
        }
        const double until = seconds(reported - *full_since_) + peer.micro_batch_seconds;
        late.push_back({std::max(0.0, until), samples + batch_of(peer)});
    };
    count(own_, now);
    for (const auto& [peer, entry] : entries_)
        if (entry.expires > now)
            count(entry.progress, is_coming(entry.progress, step) ? works_since(entry) : entry.received);
    const double batch_seconds = batch_speed > 0 ? static_cast<double>(value(target())) / batch_speed : 0;
    double wait = worthwhile_wait(late, ready_speed, batch_seconds);
    const bool is_group = longest_wait_ > Duration::zero();
    if (is_group) return *full_since_ + from_seconds(wait);  // a round needs no majority
    const std::size_t missing = all / 2 + 1 - std::min(all / 2 + 1, ready);
    std::sort(late.begin(), late.end(), [](const auto& a, const auto& b) { return a.seconds < b.seconds; });
    if (missing > 0 && missing <= late.size()) wait = std::max(wait, late[missing - 1].seconds);
    return *full_since_ + from_seconds(wait);
}

// A peer is granted twice the time of a micro-batch, from its last report or what it may have kept to itself
// since (and for its first one, whose time nobody knows yet, what is usual). A report after the batch was
// full grants no more time: whoever sends it knows that the others wait (or that it need not join), and a
// peer that only talks must not hold up the swarm. Whoever has been waited for and has not come is granted
// half as much the next time (keep_score). In a group, who is still on its way is granted the same from the
// moment when it may have begun to work for this step, and nobody more than longest_wait_.
std::vector<ExpectedPeer> ProgressBook::expected(
    Step step, TimePoint now, const std::function<bool(const Progress&)>& unreachable) const {
    constexpr double kFactor = 2.0, kSlack = 0.25, kFirstMicroBatch = 20.0;
    std::vector<ExpectedPeer> all;
    const std::optional<TimePoint> end = end_of_waiting(step, now);
    for (const auto& [peer, entry] : entries_) {
        const Progress& progress = entry.progress;
        if (entry.expires <= now || unreachable(progress)) continue;
        const bool helper = progress.role == Role::auxiliary && value(progress.step) <= value(step);
        const bool trainer = progress.role != Role::auxiliary && progress.training && progress.step == step;
        const bool newcomer = asks_to_be_waited_for(progress) && progress.step <= step && is_granted(peer);
        const bool coming = is_coming(progress, step) && will_come(progress);
        if (!helper && !trainer && !newcomer && !coming) continue;
        const bool has_speed = progress.micro_batch_seconds > 0;
        const double work = has_speed ? kFactor * progress.micro_batch_seconds : kFirstMicroBatch;
        // It is welcome, but nobody looks for it.
        if ((trainer || coming) && promises_->count(peer, now) == BrokenPromises::kMost) continue;
        double longest = kLongestPromise;
        if (longest_wait_ > Duration::zero()) longest = std::min(longest, seconds(longest_wait_));
        const double patience = helper ? kSlack : std::min(work + kSlack, longest) * trust(peer, now);
        TimePoint since = entry.received;
        if (coming)
            since = works_since(entry);
        else if (helper && full_since_)
            since = *full_since_;
        else if (full_since_ && since <= *full_since_)  // it may have ended a micro-batch without a word
            since = std::min(since + kLongestSilence, *full_since_);
        else if (full_since_)
            since = std::min(since, *full_since_ + from_seconds(kSlack));
        ExpectedPeer one;
        one.peer = peer;
        one.role = progress.role;
        one.ready_by = newcomer ? grant_->since + kNewcomersGrant : since + from_seconds(patience);
        const TimePoint works = coming ? since : entry.received;
        const bool too_late =
            (trainer || coming) && end && works + from_seconds(progress.micro_batch_seconds) > *end;
        if (too_late && !progress.waiting) one.ready_by = std::min(one.ready_by, *end);
        all.push_back(one);
    }
    return all;
}

}  // namespace shoal::collective
