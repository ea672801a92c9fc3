// What a peer asks of the candidates for the lead, and what it makes of their answers.
#include <algorithm>
#include <shoal/proto/collective.pb.h>

#include "shoal/base/error.h"
#include "shoal/collective/group_matching.h"
#include "shoal/collective/progress_record.h"
#include "shoal/collective/round_messages.h"
#include "shoal/collective/vote.h"
#include "shoal/net/rpc.h"

namespace shoal::collective {
namespace {

/// For one candidate in one attempt, after its connection broke.
constexpr unsigned kMaximumRetries = 2;

}  // namespace

void GroupMatching::ask(const PeerId& peer) {
    Candidate& candidate = candidates_[peer];
    candidate.asked = true;
    candidate.asked_at = clock_.now();
    if (!candidate.first_asked) candidate.first_asked = candidate.asked_at;
    if (!is_known(peer) && !strangers_asked_) strangers_asked_ = candidate.asked_at;
    candidate.answer = Answer::none;
    ++candidate.generation;
    tasks_.spawn(question(peer, candidate.generation));
}

void GroupMatching::stop_asking(const PeerId& peer) {
    Candidate& candidate = candidates_[peer];
    ++candidate.generation;
    if (candidate.stream) candidate.stream->finish();
    candidate.stream.reset();
    candidate.asked = false;
    candidate.probed_at.reset();
    candidate.answer = Answer::none;
}

awaitable<void> GroupMatching::question(PeerId peer, unsigned generation) {
    std::string failure = "ended the match";
    bool broken = false;
    try {
        co_await converse(peer, generation);
    } catch (const Error& error) {
        if (error.kind() == ErrorKind::cancelled) throw;
        failure = error.what();
        broken = error.kind() == ErrorKind::connection_lost;
    }
    Candidate& candidate = candidates_[peer];
    if (candidate.generation != generation) co_return;
    // A connection may break although the peer is well: dial once more before going elsewhere.
    const bool again = broken && candidate.retries++ < kMaximumRetries;
    again ? stop_asking(peer) : rule_out(peer, failure);
    lobby_.changed().notify();
}

awaitable<void> GroupMatching::converse(PeerId peer, unsigned generation) {
    std::string service = settings_.run + "/match";
    net::StreamPointer stream = co_await network_.open(peer, std::move(service));
    if (candidates_[peer].generation != generation) co_return;
    candidates_[peer].stream = stream;
    const Bytes request = make_request();
    co_await stream->write(request, ByteView());
    for (;;) {
        const std::optional<net::Message> message = co_await stream->read();
        if (!message || candidates_[peer].generation != generation) co_return;
        take_reply(peer, *message);
        if (candidates_[peer].generation != generation) co_return;
        lobby_.changed().notify();
    }
}

Bytes GroupMatching::make_request() const {
    proto::MatchRequest request;
    request.mutable_join()->ParseFromString(own_.signed_bytes);
    const auto is_no_use = [this](const PeerId& peer, const Candidate& candidate) {
        return !candidate.ruled_out.empty() || clock_.now() >= end_of_patience(peer, candidate);
    };
    for (const auto& [peer, candidate] : candidates_)
        if (is_no_use(peer, candidate) && request.tried_size() < 64)
            request.add_tried(std::string(as_text(peer.bytes())));
    return net::to_control(request);
}

void GroupMatching::take_reply(const PeerId& peer, const net::Message& message) {
    const auto reply = net::parse_control<proto::MatchReply>(message, peer);
    Candidate& candidate = candidates_[peer];
    candidate.heard_at = clock_.now();
    using Kind = proto::MatchReply::KindCase;
    switch (reply.kind_case()) {
        case Kind::kHold:
            candidate.answer = Answer::hold;
            candidate.ready = reply.hold().ready();
            candidate.wait = std::chrono::milliseconds(reply.hold().wait_milliseconds());
            return;
        case Kind::kBusy:
            candidate.answer = Answer::busy;
            return;
        case Kind::kRedirect:
            return take_redirect(peer, reply.redirect().leader());
        case Kind::kRaise:
            if (is_known(peer))
                attempts_[peer] =
                    std::max(attempts_[peer], std::min(reply.raise().attempt(), kHighestAttempt));
            return take_up_attempts_of_others();
        case Kind::kPast:
            if (is_known(peer) && reply.past().step() >= value(request_.step) &&
                reply.past().step() < kMaximumStep)
                past_[peer] = next(static_cast<Step>(reply.past().step()));
            return rule_out(peer, "is past this step");
        case Kind::kRefused:
            return rule_out(peer, "refused: " + printable(reply.refused().reason()));
        case Kind::kBegin: {
            const bool is_its_own = reply.begin().leader() == as_text(peer.bytes());
            if (!outcome_)
                take_begin(reply.begin().SerializeAsString(),
                           is_its_own ? Signatures::later : Signatures::all);
            return;
        }
        case Kind::KIND_NOT_SET:
            throw Error(ErrorKind::protocol_violation, "sent an empty answer", peer.short_name());
    }
}

void GroupMatching::take_begin(const std::string& begin, Signatures signatures) {
    MatchOutcome outcome;
    outcome.plan = read_begin(begin, own_, limits_, format_, settings_.maximum_group, signatures);
    outcome.attempt = attempt_;
    outcome_ = std::move(outcome);
}

/// Begins that members passed on. One of no use (of another attempt) is no fault, and costs nothing. Who
/// passes on one of this attempt has checked it, or lies: so a liar costs one check of signatures a match.
void GroupMatching::take_offered_begins() {
    for (const Lobby::OfferedBegin& offered : lobby_.take_offered_begins()) {
        if (outcome_) return;
        if (unheeded_.contains(offered.from) || !could_be_ours(offered.begin)) continue;
        try {
            take_begin(offered.begin, Signatures::all);
        } catch (const Error& error) {
            unheeded_.insert(offered.from);
            log_.debug("peer " + offered.from.short_name() +
                       " passed on a begin that is none: " + error.what());
        }
    }
}

/// Whether it names our present join, and a leader whom we could have given it.
bool GroupMatching::could_be_ours(const std::string& bytes) const {
    proto::Begin begin;
    if (!begin.ParseFromString(bytes) || begin.leader().size() != own_.peer.bytes().size()) return false;
    if (!candidates_.contains(PeerId::from_bytes(as_bytes(std::string_view(begin.leader()))))) return false;
    const auto is_own = [this](const proto::SignedJoin& member) {
        return member.SerializeAsString() == own_.signed_bytes;
    };
    return std::any_of(begin.members().begin(), begin.members().end(), is_own);
}

void GroupMatching::take_redirect(const PeerId& from, const std::string& bytes) {
    const PeerId leader = PeerId::from_bytes(as_bytes(std::string_view(bytes)));
    // Only upwards, so that nobody can be sent in circles.
    if (leader == self_ || !comes_before(leader, from))
        throw Error(ErrorKind::protocol_violation, "sent us to a worse leader");
    if (candidates_[from].redirects++ >= kRedirectsOfOnePeer)
        throw Error(ErrorKind::protocol_violation, "sends us to one leader after the other");
    Candidate* const candidate = find_candidate(leader);
    if (candidate == nullptr) throw Error(ErrorKind::protocol_violation, "sent us to one stranger too many");
    const bool tried_already = !candidate->ruled_out.empty();
    if (tried_already) {
        stop_asking(leader);
        candidate->ruled_out.clear();
    }
    stop_asking(from);
}

void GroupMatching::rule_out(const PeerId& peer, const std::string& why) {
    stop_asking(peer);
    Candidate& candidate = candidates_[peer];
    candidate.ruled_out = why;
    candidate.ruled_out_at = clock_.now();
    log_.debug("step " + std::to_string(value(request_.step)) + ": peer " + peer.short_name() +
               " cannot lead: " + why);
    lobby_.changed().notify();
}

}  // namespace shoal::collective
