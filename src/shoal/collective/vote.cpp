#include "shoal/collective/vote.h"

#include <algorithm>
#include <utility>

namespace shoal::collective {
namespace {

/// Honest proposers go one beyond the highest number that they have heard of. Taking up much more would let
/// one member exhaust the numbers with a few messages.
constexpr std::uint32_t kMaximumJump = 1U << 12U;

VoteMessage make_message(VoteMessage::Kind kind, Ballot ballot) {
    VoteMessage message;
    message.kind = kind;
    message.ballot = ballot;
    return message;
}

}  // namespace

VoteMachine::VoteMachine(std::uint32_t members, std::uint32_t self, std::uint32_t leader)
    : members_(members), self_(self), leader_(leader), answered_(members, false), refused_(members, false) {}

bool VoteMachine::is_quorum(const std::vector<bool>& members) {
    const auto count = static_cast<std::size_t>(std::count(members.begin(), members.end(), true));
    return 2 * count > members.size() || (2 * count == members.size() && !members.empty() && members[0]);
}

std::vector<VoteOutgoing> VoteMachine::to_others(const VoteMessage& message,
                                                 const std::vector<bool>* except) const {
    std::vector<VoteOutgoing> out;
    for (std::uint32_t i = 0; i < members_; ++i) {
        if (i == self_ || (except && (*except)[i])) continue;
        out.push_back({i, message});
    }
    return out;
}

VoteMessage VoteMachine::phase_message() const {
    if (phase_ == Phase::preparing) return make_message(VoteMessage::Kind::prepare, ballot_);
    VoteMessage message = make_message(VoteMessage::Kind::accept, ballot_);
    message.value = value_;
    return message;
}

std::vector<VoteOutgoing> VoteMachine::propose(VoteValue value) {
    if (decision_) return {};
    overtaken_ = false;
    value_ = std::move(value);
    best_promise_.reset();
    const bool first = self_ == leader_ && !used_first_ballot_ && !promised_;
    used_first_ballot_ = true;
    if (first) {
        ballot_ = {0, self_};
        return begin_accepting();
    }
    highest_number_seen_ = std::max(highest_number_seen_, ballot_.number) + 1;
    ballot_ = {highest_number_seen_, self_};
    phase_ = Phase::preparing;
    answered_.assign(members_, false);
    refused_.assign(members_, false);
    std::vector<VoteOutgoing> out = to_others(phase_message());
    for (VoteOutgoing& o : take_promise(self_, answer_prepare(ballot_))) out.push_back(std::move(o));
    return out;
}

std::vector<VoteOutgoing> VoteMachine::repeat() const {
    if (decision_ || phase_ == Phase::idle || overtaken_) return {};
    return to_others(phase_message(), &answered_);
}

std::vector<VoteOutgoing> VoteMachine::begin_accepting() {
    phase_ = Phase::accepting;
    answered_.assign(members_, false);
    std::vector<VoteOutgoing> out = to_others(phase_message());
    const VoteMessage own = answer_accept(ballot_, value_);
    if (own.kind == VoteMessage::Kind::accepted)
        for (VoteOutgoing& o : take_accepted(self_, ballot_)) out.push_back(std::move(o));
    return out;
}

VoteMessage VoteMachine::answer_prepare(Ballot ballot) {
    if (promised_ && *promised_ > ballot) return make_message(VoteMessage::Kind::refuse, *promised_);
    promised_ = ballot;
    VoteMessage promise = make_message(VoteMessage::Kind::promise, ballot);
    promise.accepted_ballot = accepted_ballot_;
    promise.value = accepted_value_;
    return promise;
}

VoteMessage VoteMachine::answer_accept(Ballot ballot, const VoteValue& value) {
    if (promised_ && *promised_ > ballot) return make_message(VoteMessage::Kind::refuse, *promised_);
    // One ballot has one value; whoever sends two is a liar, and keeps the first.
    if (accepted_ballot_ == ballot && !(accepted_value_ == value))
        return make_message(VoteMessage::Kind::refuse, *promised_);
    promised_ = ballot;
    accepted_ballot_ = ballot;
    accepted_value_ = value;
    return make_message(VoteMessage::Kind::accepted, ballot);
}

std::vector<VoteOutgoing> VoteMachine::take_promise(std::uint32_t from, const VoteMessage& message) {
    if (phase_ != Phase::preparing || message.ballot != ballot_ || message.kind != VoteMessage::Kind::promise)
        return {};
    if (message.accepted_ballot && message.value &&
        (!best_promise_ || *message.accepted_ballot > *best_promise_)) {
        best_promise_ = message.accepted_ballot;
        value_ = *message.value;
    }
    answered_[from] = true;
    if (!is_quorum(answered_)) return {};
    return begin_accepting();
}

std::vector<VoteOutgoing> VoteMachine::take_accepted(std::uint32_t from, Ballot ballot) {
    if (phase_ != Phase::accepting || ballot != ballot_) return {};
    answered_[from] = true;
    if (decision_ || !is_quorum(answered_)) return {};
    decision_ = value_;
    VoteMessage decided = make_message(VoteMessage::Kind::decided, ballot_);
    decided.value = decision_;
    return to_others(decided);
}

std::vector<VoteOutgoing> VoteMachine::receive(std::uint32_t from, const VoteMessage& message) {
    using Kind = VoteMessage::Kind;
    if (from >= members_ || from == self_ || message.ballot.number > highest_number_seen_ + kMaximumJump)
        return {};
    const auto reply = [from](VoteMessage answer) {
        return std::vector<VoteOutgoing>{VoteOutgoing{from, std::move(answer)}};
    };
    const bool asks = message.kind == Kind::prepare || message.kind == Kind::accept;
    if (decision_ && asks) {
        VoteMessage decided = make_message(Kind::decided, message.ballot);
        decided.value = decision_;
        return reply(std::move(decided));
    }
    if (message.kind == Kind::prepare || message.kind == Kind::accept) {
        // A ballot belongs to the member that it names, and number 0 to the leader, who needs no promises for
        // it.
        if (message.ballot.member != from) return {};
        if (message.ballot.number == 0 && (from != leader_ || message.kind == Kind::prepare)) return {};
        highest_number_seen_ = std::max(highest_number_seen_, message.ballot.number);
        if (proposing() && message.ballot > ballot_) overtaken_ = true;
    }
    switch (message.kind) {
        case Kind::prepare:
            return reply(answer_prepare(message.ballot));
        case Kind::accept:
            return message.value ? reply(answer_accept(message.ballot, *message.value))
                                 : std::vector<VoteOutgoing>{};
        case Kind::promise:
            return take_promise(from, message);
        case Kind::accepted:
            return take_accepted(from, message.ballot);
        case Kind::refuse:
            if (refused_[from] || !proposing()) return {};  // once for each proposal
            refused_[from] = true;
            highest_number_seen_ = std::max(highest_number_seen_, message.ballot.number);
            if (proposing() && message.ballot > ballot_) overtaken_ = true;
            return {};
        case Kind::decided:
            if (!decision_ && message.value) decision_ = message.value;
            return {};
        case Kind::query:
        case Kind::alive:
            return {};
    }
    return {};
}

}  // namespace shoal::collective
