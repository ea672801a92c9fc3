#include "shoal/collective/group_matching.h"

#include <algorithm>
#include <functional>
#include <shoal/proto/collective.pb.h>

#include "shoal/base/error.h"
#include "shoal/collective/lineage.h"
#include "shoal/collective/round_messages.h"
#include "shoal/collective/step_group.h"
#include "shoal/collective/vote.h"
#include "shoal/net/rpc.h"

namespace shoal::collective {
namespace {

/// Beyond ready_by, before a missing peer is asked where it is: reports are a little old.
constexpr Duration kSlack = std::chrono::milliseconds(50);

/// For the answer to that question.
constexpr Duration kProbeTime = std::chrono::milliseconds(250);

/// A reachable peer confirms a join at once, whatever it is doing; and a ready leader is ready by its time.
constexpr Duration kLateAfter = std::chrono::milliseconds(1000);

/// A client has no choice but to try its candidates again.
constexpr Duration kTryAgainAfter = std::chrono::milliseconds(500);

/// expected() may change at any time.
constexpr Duration kLookAgainAfter = std::chrono::milliseconds(250);

bool is_member(const std::vector<Lobby::GuestPointer>& members, const PeerId& peer) {
    return std::any_of(members.begin(), members.end(),
                       [&peer](const auto& guest) { return guest->join.peer == peer; });
}

bool contains(const std::vector<PeerId>& peers, const PeerId& peer) {
    return std::find(peers.begin(), peers.end(), peer) != peers.end();
}

}  // namespace

GroupMatching::GroupMatching(net::Network& network, Clock& clock, const AveragerSettings& settings,
                             const compress::VectorFormat& format, Lobby& lobby, Random& random,
                             MatchRequest request, Log log)
    : network_(network),
      clock_(clock),
      settings_(settings),
      format_(format),
      lobby_(lobby),
      random_(random),
      request_(std::move(request)),
      log_(std::move(log)),
      limits_(settings),
      self_(network.self()),
      nonce_(random.next()),
      attempt_(request_.attempt),
      started_(clock.now()),
      tasks_(network.executor()) {
    take_up_attempt(attempt_);
}

awaitable<MatchOutcome> GroupMatching::run() {
    auto on_connection = [this](const PeerId& peer, bool connected, const std::string&) {
        if (connected)
            lost_.erase(peer);
        else
            lost_[peer] = clock_.now();
        lobby_.changed().notify();
    };
    const std::shared_ptr<void> observer = network_.observe(std::move(on_connection));
    std::optional<MatchOutcome> outcome;
    std::exception_ptr failure;
    try {
        while (!outcome) {
            const std::uint64_t seen = lobby_.changed().count();
            TimePoint wake_at = clock_.now() + kLookAgainAfter;
            outcome = look(wake_at);
            if (!outcome) co_await Changes::wait(lobby_.changed(), clock_, seen, wake_at);
        }
    } catch (...) {
        failure = std::current_exception();
    }
    // The tasks use this object: wait for them, even if the caller has given up.
    for (auto& [peer, candidate] : candidates_) stop_asking(peer);
    tasks_.cancel();
    co_await asio::this_coro::throw_if_cancelled(false);
    const bool cancelled = co_await run_to_end(tasks_.settle());
    if (failure) std::rethrow_exception(failure);
    if (cancelled) throw Error(ErrorKind::cancelled, "the search for a group was cancelled");
    co_return std::move(*outcome);
}

// ---- deciding
// ----------------------------------------------------------------------------------------------------------

std::optional<MatchOutcome> GroupMatching::look(TimePoint& wake_at) {
    refresh_lineage();
    refresh_expected();
    take_up_attempts_of_others();
    learn_candidates_from_guests();
    take_offered_begins();
    if (outcome_) return std::move(outcome_);
    if (request_.is_over && request_.is_over()) return fail("the swarm is past this step", true);
    const TimePoint now = clock_.now();
    std::optional<PeerId> best;
    for (auto& [peer, candidate] : candidates_) {
        if (!candidate.ruled_out.empty() || is_late(peer, candidate, now, wake_at)) continue;
        if (!may_take_part(peer)) continue;
        if (!best || comes_before(peer, *best)) best = peer;
    }
    if (can_lead(settings_.role) && (!best || comes_before(self_, *best))) return lead(wake_at);
    if (!best) return wait_for_a_leader(wake_at);
    return follow(*best, wake_at);
}

std::optional<MatchOutcome> GroupMatching::follow(const PeerId& leader, TimePoint& wake_at) {
    Candidate& candidate = candidates_[leader];
    // Guests are sent on only to a leader that has answered.
    const bool confirmed = candidate.answer != Answer::none;
    set_status(confirmed ? MatchStatus::Kind::joined : MatchStatus::Kind::matching, leader);
    if (!candidate.asked) ask(leader);
    is_late(leader, candidate, clock_.now(), wake_at);
    // One that this peer has joined before and that is not late stays joined only if it is better: else it
    // would count on us.
    for (auto& [peer, other] : candidates_) {
        const bool better = comes_before(peer, leader);
        if (peer != leader && other.asked && !better && other.answer != Answer::busy) stop_asking(peer);
    }
    return std::nullopt;
}

std::optional<MatchOutcome> GroupMatching::lead(TimePoint& wake_at) {
    set_status(MatchStatus::Kind::leading);
    const std::vector<Lobby::GuestPointer> members = fitting_guests();
    bool wait = false;
    for (const ExpectedPeer& expected : expected_) {
        if (is_member(members, expected.peer)) continue;
        if (waits_for(expected, wake_at)) wait = true;
    }
    const TimePoint now = clock_.now();
    // A lost peer that lives (its link broke, say) learns of the verdict as we did, and is on its way.
    for (const PeerId& peer : welcome_) {
        const TimePoint due = started_ + (network_.is_connected(peer) ? kProbeTime : kProbeTime / 2);
        if (now >= due || is_member(members, peer)) continue;
        wake_at = std::min(wake_at, due);
        wait = true;
    }
    for (const auto& [peer, candidate] : candidates_) {
        const bool busy = candidate.asked && candidate.answer == Answer::busy;
        if (busy && !is_late(peer, candidate, now, wake_at)) wait = true;  // until that round is over
    }
    if (wait) return std::nullopt;
    if (past_.size() > members.size()) {
        const std::string peer = past_.begin()->first.short_name();
        return left_behind("peer " + peer + ": the others are past step " +
                           std::to_string(value(request_.step)));
    }
    bool quorum = false;
    std::vector<Lobby::GuestPointer> group = choose(without_barred(members), quorum);
    if (!quorum) group = choose(members, quorum);
    double weight = request_.weight;
    for (const Lobby::GuestPointer& guest : group) weight += guest->join.weight;
    if (weight > 0 && quorum) return begin(group);
    const TimePoint deadline = longest_ready_by() + settings_.join_timeout;
    if (now >= deadline)
        return quorum ? fail("nobody with samples has joined", false) : fail(missing_peers(), true);
    if (!quorum) try_again(wake_at);
    wake_at = std::min(wake_at, deadline);
    return std::nullopt;
}

/// Those that go on with this peer, if they are a quorum.
std::vector<Lobby::GuestPointer> GroupMatching::choose(const std::vector<Lobby::GuestPointer>& members,
                                                       bool& quorum) {
    std::vector<Join> joins{own_};
    for (const Lobby::GuestPointer& guest : members) joins.push_back(guest->join);
    const std::vector<bool> chosen = choose_group(joins);
    std::vector<Lobby::GuestPointer> group;
    std::vector<Join> chosen_joins{own_};
    for (std::size_t i = 0; i < members.size(); ++i) {
        if (!chosen[i + 1]) continue;
        group.push_back(members[i]);
        chosen_joins.push_back(members[i]->join);
    }
    quorum = chosen[0] && (!request_.needs_quorum || has_witness(chosen_joins) || is_quorum(group));
    return group;
}

/// True if these and this peer are enough of those that are expected.
bool GroupMatching::is_quorum(const std::vector<Lobby::GuestPointer>& members) const {
    std::map<PeerId, bool> present;  // ascending
    for (const ExpectedPeer& expected : expected_) present[expected.peer] = false;
    for (const PeerId& peer : welcome_)
        present[peer] = false;  // or two halves could lose each other, and both go on
    for (const Lobby::GuestPointer& guest : members) present[guest->join.peer] = true;
    present[self_] = true;
    std::vector<bool> flags;
    for (const auto& [peer, here] : present) flags.push_back(here);
    return VoteMachine::is_quorum(flags);
}

std::string GroupMatching::missing_peers() const {
    std::string text = "too few of the expected peers have joined";
    for (const auto& [peer, candidate] : candidates_)
        if (!candidate.ruled_out.empty()) text += "; " + peer.short_name() + ": " + candidate.ruled_out;
    return printable(text);
}

/// Gives candidates that were ruled out another chance, every now and then.
void GroupMatching::try_again(TimePoint& wake_at) {
    const TimePoint now = clock_.now();
    for (auto& [peer, candidate] : candidates_) {
        if (candidate.ruled_out.empty() || now - candidate.ruled_out_at <= kTryAgainAfter) continue;
        stop_asking(peer);
        candidate.ruled_out.clear();
        wake_at = now;
    }
    wake_at = std::min(wake_at, now + kTryAgainAfter);
}

std::optional<MatchOutcome> GroupMatching::wait_for_a_leader(TimePoint& wake_at) {
    set_status(MatchStatus::Kind::matching);
    const TimePoint now = clock_.now();
    const TimePoint deadline = longest_ready_by() + settings_.join_timeout;
    if (2 * past_.size() > candidates_.size()) return left_behind("the others are past this step");
    const bool may_begin = request_.weight > 0 && may_go_on(std::span<const Join>(&own_, 1));
    if (expected_.empty() && candidates_.empty() && may_begin) {
        MatchOutcome outcome;
        outcome.alone = true;
        for (std::uint8_t& byte : outcome.id) byte = static_cast<std::uint8_t>(random_.next());
        outcome.attempt = attempt_;
        return outcome;
    }
    if (now >= deadline) return fail("no peer that can lead a round is in reach: " + missing_peers(), true);
    try_again(wake_at);
    wake_at = std::min(wake_at, deadline);
    return std::nullopt;
}

/// Whether the leader has to wait for this missing peer. One whose time is over, or whose connection broke,
/// may be with others who do not know of us, or on its way back: it is asked, and gets a moment to answer.
bool GroupMatching::waits_for(const ExpectedPeer& expected, TimePoint& wake_at) {
    const TimePoint now = clock_.now();
    const auto until = [&wake_at, now](TimePoint due) {
        if (now < due) wake_at = std::min(wake_at, due);
        return now < due;
    };
    const auto lost = lost_.find(expected.peer);
    const bool is_lost = lost != lost_.end();
    if (!can_lead(expected.role))
        return until(is_lost ? lost->second + kProbeTime : expected.ready_by + kSlack);
    Candidate& candidate = candidates_[expected.peer];
    if (!candidate.ruled_out.empty()) return false;
    // In a later attempt, somebody may have missed the verdict of the last one and wait for us elsewhere; and
    // where the swarm averages in groups, may be past this step: ask soon.
    const TimePoint due = expected.ready_by + kSlack;
    const bool asks_soon = attempt_ > 0 || !request_.needs_quorum;
    const TimePoint ask_at = asks_soon ? std::min(due, started_ + kProbeTime) : due;
    if (!is_lost && until(ask_at)) return true;
    if (!candidate.asked) ask(expected.peer);
    if (!candidate.probed_at) candidate.probed_at = now;
    // One that is ready, too, learns from our join that we lead, and comes. One that must be dialled needs
    // longer.
    const bool coming = candidate.answer == Answer::hold && candidate.ready;
    const bool dialling = !is_lost && !network_.is_connected(expected.peer);
    const Duration patience = coming ? 2 * kProbeTime : dialling ? kLateAfter : kProbeTime;
    if ((candidate.answer == Answer::none || coming) && until(*candidate.probed_at + patience)) return true;
    return !is_lost && until(due);
}

std::optional<MatchOutcome> GroupMatching::begin(const std::vector<Lobby::GuestPointer>& members) {
    MatchOutcome outcome;
    outcome.attempt = attempt_;
    std::vector<Join> joins{own_};
    for (const Lobby::GuestPointer& guest : members) joins.push_back(guest->join);
    const std::size_t chunk = fitting_chunk(joins, settings_.chunk_elements, format_);
    const std::string bytes =
        make_begin(self_, random_.next(), std::move(joins), chunk, settings_.signer.get());
    outcome.plan = read_begin(bytes, own_, limits_, format_, settings_.maximum_group, Signatures::known);
    outcome.id = outcome.plan->id;
    outcome.alone = members.empty();
    lobby_.begin(members, bytes);
    return outcome;
}

MatchOutcome GroupMatching::fail(const std::string& cause, bool cut_off) const {
    MatchOutcome outcome;
    outcome.cause = cause;
    outcome.cut_off = cut_off;
    outcome.attempt = attempt_;
    return outcome;
}

/// The step is the one that more than half of those have reached that are past this one. One that is alone
/// with what it says moves us by a few.
MatchOutcome GroupMatching::left_behind(const std::string& cause) const {
    MatchOutcome outcome = fail(cause, true);
    std::vector<Step> steps;
    for (const auto& [peer, step] : past_) steps.push_back(step);
    std::sort(steps.begin(), steps.end(), std::greater<>());
    outcome.swarm_step = steps[steps.size() / 2];
    if (steps.size() == 1)
        outcome.swarm_step =
            std::min(steps.front(), static_cast<Step>(value(request_.step) + kStepsByOneVoice));
    return outcome;
}

// ---- what is known
// -----------------------------------------------------------------------------------------------------

/// The order of candidates. Those that the last round lost come last (this peer may be one of them): nobody
/// waits for them.
bool GroupMatching::comes_before(const PeerId& a, const PeerId& b) const {
    const bool a_lost = contains(request_.excluded, a), b_lost = contains(request_.excluded, b);
    if (a_lost != b_lost) return b_lost;
    return rank(a) < rank(b);
}

/// When nobody waits any longer for this candidate in this attempt (for a stranger: in this search), whatever
/// it says, and however often it comes and goes.
TimePoint GroupMatching::end_of_patience(const PeerId& peer, const Candidate& candidate) const {
    const std::optional<TimePoint>& asked = is_known(peer) ? candidate.first_asked : strangers_asked_;
    if (!asked) return TimePoint::never();
    const bool anybody_known = known_.size() > known_.count(self_);
    int times = candidate.answer == Answer::busy ? kLongestBusy : kLongestHold;
    if (anybody_known && !is_known(peer)) times = kLongestHoldOfStrangers;
    return std::max(*asked + times * settings_.join_timeout, longest_ready_by() + settings_.join_timeout);
}

/// True if nobody should wait for this candidate's lead at the moment; else until when it is not late.
bool GroupMatching::is_late(const PeerId& peer, const Candidate& candidate, TimePoint now,
                            TimePoint& wake_at) const {
    const TimePoint end = end_of_patience(peer, candidate);
    if (now >= end) return true;
    if (!candidate.asked) return false;
    // One that was connected before is dialled again in no time, or it is dead.
    TimePoint due = candidate.asked_at + (candidate.retries > 0 ? kProbeTime : kLateAfter);
    if (candidate.answer == Answer::busy) due = candidate.heard_at + settings_.join_timeout;
    if (candidate.answer == Answer::hold && candidate.ready) {
        const Duration wait = std::min(candidate.wait, 10 * settings_.join_timeout);
        due = std::max(candidate.heard_at + wait, longest_ready_by()) + settings_.join_timeout;
    }
    if (candidate.answer == Answer::hold && !candidate.ready) {
        due = candidate.heard_at + kLateAfter;
        for (const ExpectedPeer& expected : expected_)
            if (expected.peer == peer) due = std::max(due, expected.ready_by + kLateAfter);
    }
    due = std::min(due, end);
    if (now >= due) return true;
    wake_at = std::min(wake_at, due);
    return false;
}

std::vector<Lobby::GuestPointer> GroupMatching::without_barred(
    std::vector<Lobby::GuestPointer> members) const {
    std::erase_if(members, [this](const Lobby::GuestPointer& guest) {
        return contains(request_.barred, guest->join.peer);
    });
    return members;
}

std::vector<Lobby::GuestPointer> GroupMatching::fitting_guests() {
    std::size_t elements = own_.elements, state_elements = own_.state_elements;
    compress::Pieces pieces = own_.pieces;
    std::vector<Lobby::GuestPointer> members, misfits;
    for (const Lobby::GuestPointer& guest : lobby_.guests()) {
        const Join& join = guest->join;
        if (join.step != request_.step || join.attempt != attempt_ || guest->closing) continue;
        if (!may_take_part(join.peer)) continue;
        if (elements == 0) {  // an auxiliary peer learns from the first what is averaged
            elements = join.elements;
            state_elements = join.state_elements;
            pieces = join.pieces;
        }
        const bool same_vector =
            join.elements == elements && join.state_elements == state_elements && join.pieces == pieces;
        const bool fits = join.codec == own_.codec && (join.elements == 0 || same_vector);
        if (!fits)
            misfits.push_back(guest);
        else if (members.size() + 1 < settings_.maximum_group)
            members.push_back(guest);
    }
    for (const Lobby::GuestPointer& guest : misfits)
        lobby_.refuse(guest,
                      "this round averages " + std::to_string(elements) + " elements in " + own_.codec +
                          ", you offer " + std::to_string(guest->join.elements) + " in " + guest->join.codec +
                          (guest->join.elements == elements ? ", or tensors or a state of other sizes" : ""));
    return members;
}

TimePoint GroupMatching::longest_ready_by() const {
    TimePoint latest = started_;
    for (const ExpectedPeer& expected : expected_) latest = std::max(latest, expected.ready_by);
    return latest;
}

void GroupMatching::set_status(MatchStatus::Kind kind, const PeerId& leader) {
    MatchStatus status = lobby_.status();
    status.kind = kind;
    status.step = request_.step;
    status.attempt = attempt_;
    status.join = own_.signed_bytes;
    status.leader = leader;
    status.wait = std::max(Duration(0), longest_ready_by() - clock_.now()) + kSlack + kProbeTime;
    lobby_.set_status(std::move(status));
}

// ---- asking
// ------------------------------------------------------------------------------------------------------------

}  // namespace shoal::collective
