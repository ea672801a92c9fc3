#include "shoal/collective/round_vote.h"

#include <algorithm>
#include <utility>

#include "shoal/base/error.h"
#include "shoal/collective/stall_watch.h"

namespace shoal::collective {
namespace {

// All in parts of the stall time-out T, the time after which silence means loss.
Duration tick_of(Duration stall) {
    return stall / 4;
}  // signs of life
Duration grace_of(Duration stall) {
    return stall / 8;
}  // for others to complain, too
Duration stagger_of(Duration stall) {
    return stall / 8;
}  // between one proposer's turn and the next
Duration retry_of(Duration stall) {
    return stall / 2;
}  // for a proposal to get through
constexpr std::size_t kMaximumOutbox = 256;
constexpr unsigned kQuickReconnects = 4;

RoundMessage vote_message(const VoteMessage& vote) {
    RoundMessage message;
    message.vote = vote;
    return message;
}

}  // namespace

RoundVote::RoundVote(net::Network& network, Clock& clock, RoundVoteSettings settings, RoundPlan plan, Log log)
    : network_(network),
      clock_(clock),
      settings_(std::move(settings)),
      plan_(std::move(plan)),
      log_(std::move(log)),
      self_(plan_.self),
      leader_(plan_.leader),
      machine_(static_cast<std::uint32_t>(plan_.members.size()), static_cast<std::uint32_t>(self_),
               static_cast<std::uint32_t>(leader_)),
      changed_(network.executor()),
      observations_(plan_.members.size()),
      began_(clock.now()),
      tasks_(network.executor()) {
    for (std::size_t i = 0; i < plan_.members.size(); ++i)
        links_.emplace_back(network.executor()).heard = clock.now();
    last_tick_ = clock.now() - settings_.stall_timeout;
}

// ---- what is due
// ---------------------------------------------------------------------------------------------------------

awaitable<std::optional<VoteValue>> RoundVote::run(std::function<bool()> give_up) {
    const Self keep = shared_from_this();
    while (!machine_.decision()) {
        const std::uint64_t seen = changed_.count();
        const TimePoint now = clock_.now();
        forgive_own_sleep(now);
        act(now);
        if (machine_.decision()) break;
        if (cut_off(now) && (!may_be_averaged_ || !give_up || give_up())) co_return std::nullopt;
        co_await Changes::wait(changed_, clock_, seen, now + grace_of(settings_.stall_timeout));
    }
    co_return machine_.decision();
}

/// After this process was stopped for a while, the silence of the others was ours.
void RoundVote::forgive_own_sleep(TimePoint now) {
    if (now - last_act_ > settings_.stall_timeout / 2) {
        for (Link& link : links_) link.heard = now;
        if (complete_since_) complete_since_ = now;
    }
    last_act_ = now;
}

void RoundVote::act(TimePoint now) {
    if (!observations_[self_].blames.empty() && !trouble_since_) trouble_since_ = now;
    if (self_ == leader_)
        lead(now);
    else
        follow(now);
    if (now - last_tick_ >= tick_of(settings_.stall_timeout)) {
        last_tick_ = now;
        notice_traffic(now);
        tick_messages();
    }
}

void RoundVote::lead(TimePoint now) {
    for (std::size_t member = 0; member < links_.size(); ++member) {
        const Link& link = links_[member];
        if (is_silent(member, now))
            blame(member, "does not answer");
        else if (link.failed && !link.stream && now - link.heard > tick_of(settings_.stall_timeout))
            blame(member, "cannot be reached");
        else if (!observations_[member].complete && patience_is_over(now))
            blame(member, "is not done long after the others");
    }
    if (machine_.proposing()) {
        if (proposal_is_stuck(now)) propose_failed();
        return;
    }
    if (everybody_is_complete()) {
        const std::vector<Blame> differences = compare_digests(observations_, plan_);
        if (differences.empty()) {
            VoteValue value;
            value.averaged = true;
            std::vector<Fingerprint> shares;
            for (std::size_t owner = 0; owner < links_.size(); ++owner)
                shares.push_back(observations_[owner].digests[owner]);
            value.digest = combine(shares);
            proposed_at_ = now;
            ++proposals_;
            may_be_averaged_ = true;
            send_all(machine_.propose(std::move(value)));
            return;
        }
        observations_[self_].complete = false;
        observations_[self_].digests.clear();
        for (const Blame& difference : differences) blame(difference.member, difference.cause);
    }
    const bool complaints =
        std::any_of(observations_.begin(), observations_.end(),
                    [](const Observation& observation) { return !observation.blames.empty(); });
    if (!complaints) return;
    if (!trouble_since_) trouble_since_ = now;
    if (now - *trouble_since_ >= grace_of(settings_.stall_timeout) || enough_complaints_heard())
        propose_failed();
}

void RoundVote::follow(TimePoint now) {
    const Link& leader = links_[leader_];
    const bool complained = !observations_[self_].blames.empty();
    // The leader's own patience ends first, and its proposal has the time to arrive.
    const bool idle = patience_is_over(now - 2 * settings_.stall_timeout);
    const bool ignored = idle || (complained && now - *trouble_since_ > retry_of(settings_.stall_timeout));
    if (!suspected_since_ && (is_silent(leader_, now) || leader.failed || ignored)) {
        suspected_since_ = now;
        if (!trouble_since_) trouble_since_ = now;
        blame(leader_, leader.failed ? "cannot be reached" : ignored ? "decides nothing" : "does not answer");
        last_tick_ = now - settings_.stall_timeout;  // ask around at once
    }
    if (!suspected_since_ || plan_.members[self_].role == Role::client) return;
    const Duration wait = stagger_of(settings_.stall_timeout) * static_cast<std::int64_t>(turn());
    const bool my_turn = now - *suspected_since_ >= wait;
    if (my_turn && (!machine_.proposing() || proposal_is_stuck(now - wait))) propose_failed();
}

bool RoundVote::patience_is_over(TimePoint now) const {
    if (!complete_since_) return false;
    return now - *complete_since_ > kVotePatience * (*complete_since_ - began_ + settings_.stall_timeout);
}

/// Each proposal gets more time than the one before, so that slow links do not keep it from ever getting
/// through.
bool RoundVote::proposal_is_stuck(TimePoint now) const {
    return now - proposed_at_ > retry_of(settings_.stall_timeout) * proposals_;
}

void RoundVote::propose_failed() {
    std::vector<bool> silent;
    for (std::size_t i = 0; i < links_.size(); ++i)
        silent.push_back(i != self_ && (links_[i].failed || is_silent(i, clock_.now())));
    const Culprits culprits = find_culprits(observations_, silent, self_, plan_);
    VoteValue value;
    value.cause = printable(culprits.cause);
    value.lost = culprits.lost;
    proposed_at_ = clock_.now();
    ++proposals_;
    send_all(machine_.propose(std::move(value)));
}

/// On a slow line a sign of life may wait behind chunks: bytes of a member are one, too, and while this
/// peer's own line is busy, nobody's silence counts.
void RoundVote::notice_traffic(TimePoint now) {
    const std::vector<net::ConnectionInfo> connections = network_.connections();
    std::uint64_t received = 0;
    for (std::size_t member = 0; member < links_.size(); ++member) {
        std::uint64_t bytes = 0;  // two peers that dial each other at once have two connections
        for (const net::ConnectionInfo& info : connections)
            if (info.peer == plan_.members[member].peer) bytes += info.bytes_received;
        Link& link = links_[member];
        const std::uint64_t fresh = bytes - std::min(bytes, std::exchange(link.bytes, bytes));
        if (fresh > kBytesThatCount) link.heard = now;
        received += fresh;
    }
    if (received > kBytesThatCount * connections.size())
        for (Link& link : links_) link.heard = now;
}

void RoundVote::tick_messages() {
    RoundMessage own;
    own.observation = observations_[self_];
    VoteMessage alive;
    VoteMessage query;
    query.kind = VoteMessage::Kind::query;
    for (std::size_t member = 0; member < links_.size(); ++member) {
        if (member == self_) continue;
        if (self_ == leader_) {
            send(member, vote_message(alive));
        } else if (member == leader_ && !suspected_since_) {
            send(member, own);
        } else if (suspected_since_) {
            const bool both_clients =
                plan_.members[self_].role == Role::client && plan_.members[member].role == Role::client;
            if (both_clients) continue;
            own.vote = query;
            send(member, own);
        }
    }
    send_all(machine_.repeat());
}

bool RoundVote::everybody_is_complete() const {
    return std::all_of(observations_.begin(), observations_.end(),
                       [](const Observation& observation) { return observation.complete; });
}

bool RoundVote::enough_complaints_heard() const {
    // Everybody has spoken who is not complained of.
    std::vector<bool> blamed(links_.size(), false);
    for (const Observation& observation : observations_)
        for (const Blame& b : observation.blames) blamed[b.member] = true;
    for (std::size_t i = 0; i < links_.size(); ++i) {
        const bool spoken = observations_[i].complete || !observations_[i].blames.empty() || i == self_;
        if (!spoken && !blamed[i]) return false;
    }
    return true;
}

bool RoundVote::is_silent(std::size_t member, TimePoint now) const {
    return member != self_ && now - links_[member].heard > settings_.stall_timeout;
}

bool RoundVote::hopeless(TimePoint now) const {
    std::vector<bool> in_reach(links_.size(), false);
    for (std::size_t i = 0; i < links_.size(); ++i)
        in_reach[i] = i == self_ || (!is_silent(i, now) && links_[i].stream);
    return !VoteMachine::is_quorum(in_reach);
}

bool RoundVote::cut_off(TimePoint now) {
    if (!trouble_since_) return false;
    const bool asked_around = self_ == leader_ || suspected_since_;
    if (!asked_around || !hopeless(now))
        hopeless_since_.reset();
    else if (!hopeless_since_)
        hopeless_since_ = now;
    if (hopeless_since_ && now - *hopeless_since_ > settings_.stall_timeout) return true;
    return now - *trouble_since_ > kVotePatience * settings_.stall_timeout;
}

/// How many others propose before this member does.
std::size_t RoundVote::turn() const {
    const Digest own = leader_rank(plan_.members[self_].peer, plan_.step, plan_.attempt);
    std::size_t before = 0;
    for (std::size_t i = 0; i < links_.size(); ++i) {
        if (i == self_ || i == leader_ || plan_.members[i].role == Role::client || links_[i].failed) continue;
        if (leader_rank(plan_.members[i].peer, plan_.step, plan_.attempt) < own) ++before;
    }
    return before;
}

std::string RoundVote::trouble() const {
    const auto& blames = observations_[self_].blames;
    if (blames.empty()) return "no majority of the round's members can be reached";
    return "no majority of the round's members can be reached; first trouble: peer " +
           plan_.members[blames.front().member].peer.short_name() + ": " + blames.front().cause;
}

// ---- what is heard and said
// ------------------------------------------------------------------------------------------------

void RoundVote::report_complete(std::vector<Fingerprint> share_digests) {
    observations_[self_].complete = true;
    observations_[self_].digests = std::move(share_digests);
    complete_since_ = clock_.now();
    if (self_ != leader_) may_be_averaged_ = true;
    last_tick_ = clock_.now() - settings_.stall_timeout;
    changed_.notify();
}

void RoundVote::report_failure(const Blame& b) {
    blame(b.member, b.cause);
}

void RoundVote::say_unheard(std::size_t member) {
    RoundMessage message;
    message.unheard = true;
    if (links_[member].outbox.empty()) send(member, message);  // or it has not gone out yet
}

void RoundVote::blame(std::size_t member, const std::string& cause) {
    std::vector<Blame>& blames = observations_[self_].blames;
    const auto same = [member](const Blame& b) { return b.member == member; };
    if (std::any_of(blames.begin(), blames.end(), same)) return;
    blames.push_back({member, printable(cause)});
    log_.debug("round of step " + std::to_string(value(plan_.step)) + ": peer " +
               plan_.members[member].peer.short_name() + ": " + blames.back().cause);
    if (self_ != leader_) last_tick_ = clock_.now() - settings_.stall_timeout;
    changed_.notify();
}

void RoundVote::take(std::size_t member, const RoundMessage& message) {
    if (closed_) return;  // a message may have been on its way to us already
    links_[member].heard = clock_.now();
    // What a member has seen once stays seen, whatever it says later.
    if (message.observation && !observations_[member].complete) observations_[member] = *message.observation;
    if (message.unheard && settings_.unheard) {
        const auto unheard = settings_.unheard;
        unheard(member);
    }
    using Kind = VoteMessage::Kind;
    if (message.vote && admits(member, *message.vote)) {
        // Who thinks that the leader is lost, or that anything else is wrong, says so before it proposes.
        const bool in_trouble = std::any_of(observations_.begin(), observations_.end(),
                                            [](const Observation& seen) { return !seen.blames.empty(); });
        if (message.vote->kind == Kind::prepare && self_ == leader_ && !in_trouble && !machine_.decision())
            blame(member, "proposes an end without a reason");
        send_all(machine_.receive(static_cast<std::uint32_t>(member), *message.vote));
    }
    changed_.notify();
    const bool asks = !message.vote || message.vote->kind == Kind::alive || message.vote->kind == Kind::query;
    if (!machine_.decision() || !asks) return;
    VoteMessage decided;
    decided.kind = Kind::decided;
    decided.ballot.member = static_cast<std::uint32_t>(self_);
    decided.value = machine_.decision();
    send(member, vote_message(decided));
}

/// Honest members give each of their proposals more time than the one before (proposal_is_stuck). What comes
/// twice as fast is not heeded; an honest one that the line has delayed is repeated.
bool RoundVote::admits(std::size_t member, const VoteMessage& vote) {
    using Kind = VoteMessage::Kind;
    Link& link = links_[member];
    const bool proposes = vote.kind == Kind::prepare || vote.kind == Kind::accept;
    if (!proposes || machine_.decision()) return true;
    if (link.ballots > 0 && vote.ballot == link.ballot) return true;
    const Duration pause = retry_of(settings_.stall_timeout) / 2 * static_cast<std::int64_t>(link.ballots);
    const TimePoint now = clock_.now();
    if (link.ballots > 0 && now - link.ballot_at < pause) return false;
    ++link.ballots;
    link.ballot = vote.ballot;
    link.ballot_at = now;
    return true;
}

void RoundVote::send_all(std::vector<VoteOutgoing> messages) {
    for (const VoteOutgoing& outgoing : messages) send(outgoing.to, vote_message(outgoing.message));
    if (machine_.decision()) {
        changed_.notify();
        for (Link& link : links_) link.wake.notify();
    }
}

void RoundVote::send(std::size_t member, const RoundMessage& message) {
    if (closed_) return;
    Link& link = links_[member];
    if (link.outbox.size() >= kMaximumOutbox) link.outbox.pop_front();
    link.outbox.push_back(encode_round_message(message));
    link.wake.notify();
    if (link.stream || link.connecting) return;
    link.connecting = true;
    tasks_.spawn(connect(shared_from_this(), member));
}

// ---- streams
// ---------------------------------------------------------------------------------------------------------------

awaitable<void> RoundVote::connect(Self self, std::size_t member) {
    Link& link = self->links_[member];
    net::StreamPointer stream;
    try {
        std::string service = self->settings_.service;
        stream = co_await self->network_.open(self->plan_.members[member].peer, std::move(service));
        RoundMessage hello;
        hello.round = self->plan_.id;
        if (member != self->leader_) hello.begin = self->plan_.begin_message;
        const Bytes bytes = encode_round_message(hello);
        co_await stream->write(bytes, ByteView());
        link.failed = false;
    } catch (...) {
        if (is_cancellation(std::current_exception())) throw;
        link.failed = true;
        link.outbox.clear();
        stream.reset();
    }
    link.connecting = false;
    if (stream && !self->closed_) self->attach(member, stream);
    self->changed_.notify();
}

void RoundVote::attach(std::size_t member, const net::StreamPointer& stream) {
    Link& link = links_[member];
    link.stream = stream;  // the newest is written to; all are read
    link.failed = false;
    link.wake.notify();
    const auto ended = std::make_shared<bool>(false);
    tasks_.spawn(write_messages(shared_from_this(), member, stream, ended));
    tasks_.spawn(read_messages(shared_from_this(), member, stream, ended));
}

void RoundVote::accept(std::size_t member, net::StreamPointer stream, const RoundMessage& first) {
    if (closed_) return stream->reset("this round is forgotten");
    attach(member, stream);
    take(member, first);
}

awaitable<void> RoundVote::write_messages(Self self, std::size_t member, net::StreamPointer stream,
                                          std::shared_ptr<bool> ended) {
    Link& link = self->links_[member];
    try {
        // A stream that a newer one has replaced says nothing more, but stays open: the other side may write
        // to it.
        for (;;) {
            const bool idle = link.outbox.empty() || link.stream != stream;
            if (*ended || (idle && self->machine_.decision())) break;
            if (idle) {
                co_await link.wake.wait();
                continue;
            }
            const Bytes message = std::move(link.outbox.front());
            link.outbox.pop_front();
            co_await stream->write(message, ByteView());
        }
        stream->finish();
    } catch (...) {
        if (is_cancellation(std::current_exception())) throw;
        self->link_broke(member, stream);
    }
}

awaitable<void> RoundVote::read_all(Self self, std::size_t member, net::StreamPointer stream) {
    for (;;) {
        const std::optional<net::Message> message = co_await stream->read();
        if (!message) co_return;
        self->take(member, decode_round_message(message->control, self->plan_.members.size()));
    }
}

awaitable<void> RoundVote::read_messages(Self self, std::size_t member, net::StreamPointer stream,
                                         std::shared_ptr<bool> ended) {
    std::string reason;
    try {
        co_await read_all(self, member, stream);
    } catch (...) {
        if (is_cancellation(std::current_exception())) throw;
        reason = describe(std::current_exception());
    }
    if (!reason.empty()) stream->reset(reason);
    *ended = true;
    self->links_[member].wake.notify();
    self->link_broke(member, stream);
}

void RoundVote::link_broke(std::size_t member, const net::StreamPointer& stream) {
    Link& link = links_[member];
    if (link.stream != stream) return;
    link.stream.reset();
    link.outbox.clear();
    link.wake.notify();
    // The leader's stream ends before a decision: try again at once; if that fails, it is suspected. Who ends
    // one after the other is tried again with the next sign of life.
    if (++link.broken > kQuickReconnects) return changed_.notify();
    if (member == leader_ || self_ == leader_) last_tick_ = clock_.now() - settings_.stall_timeout;
    changed_.notify();
}

void RoundVote::leave() {
    for (Link& link : links_)
        if (link.stream) link.stream->reset("this peer has left the round");
}

void RoundVote::close() {
    leave();
    closed_ = true;
    tasks_.cancel();
}

}  // namespace shoal::collective
