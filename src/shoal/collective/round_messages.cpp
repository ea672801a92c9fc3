#include "shoal/collective/round_messages.h"

#include <algorithm>
#include <shoal/proto/collective.pb.h>

#include "shoal/base/error.h"
#include "shoal/net/rpc.h"

namespace shoal::collective {
namespace {

constexpr std::size_t kMaximumCause = 300;

[[noreturn]] void refuse(const char* what) {
    throw Error(ErrorKind::protocol_violation, std::string("sent a vote message with ") + what);
}

void write(const Ballot& ballot, proto::Ballot& out) {
    out.set_number(ballot.number);
    out.set_member(ballot.member);
}

Ballot read(const proto::Ballot& in, std::size_t members) {
    if (in.member() >= members) refuse("a ballot of nobody");
    return {in.number(), in.member()};
}

void write(const VoteValue& value, proto::VoteValue& out) {
    out.set_averaged(value.averaged);
    out.set_cause(printable(value.cause));
    for (const std::uint32_t member : value.lost) out.add_lost(member);
    out.set_digest_low(value.digest.low);
    out.set_digest_high(value.digest.high);
}

VoteValue read(const proto::VoteValue& in, std::size_t members) {
    VoteValue value;
    value.averaged = in.averaged();
    value.cause = printable(in.cause());
    value.digest = {in.digest_low(), in.digest_high()};
    value.lost.assign(in.lost().begin(), in.lost().end());
    for (std::size_t i = 0; i < value.lost.size(); ++i)
        if (value.lost[i] >= members || (i > 0 && value.lost[i - 1] >= value.lost[i]))
            refuse("impossible lost members");
    if (value.averaged && !value.lost.empty()) refuse("members lost by a round that went well");
    return value;
}

void write(const VoteMessage& message, proto::VoteMessage& out) {
    out.set_kind(static_cast<proto::VoteMessage::Kind>(message.kind));
    write(message.ballot, *out.mutable_ballot());
    if (message.accepted_ballot) write(*message.accepted_ballot, *out.mutable_accepted_ballot());
    if (message.value) write(*message.value, *out.mutable_value());
}

VoteMessage read(const proto::VoteMessage& in, std::size_t members) {
    if (!proto::VoteMessage::Kind_IsValid(in.kind())) refuse("an unknown kind");
    VoteMessage message;
    message.kind = static_cast<VoteMessage::Kind>(in.kind());
    message.ballot = read(in.ballot(), members);
    if (in.has_accepted_ballot()) message.accepted_ballot = read(in.accepted_ballot(), members);
    if (in.has_value()) message.value = read(in.value(), members);
    return message;
}

void write(const Observation& observation, proto::RoundObservation& out) {
    out.set_complete(observation.complete);
    for (const Fingerprint& digest : observation.digests) {
        out.add_digests(digest.low);
        out.add_digests(digest.high);
    }
    for (const Blame& blame : observation.blames) {
        auto* entry = out.add_blames();
        entry->set_member(static_cast<std::uint32_t>(blame.member));
        entry->set_cause(printable(blame.cause));
    }
}

Observation read(const proto::RoundObservation& in, std::size_t members) {
    Observation observation;
    observation.complete = in.complete();
    const auto digests = static_cast<std::size_t>(in.digests_size());
    if (digests != (in.complete() ? 2 * members : 0)) refuse("a wrong number of digests");
    for (int i = 0; i + 1 < in.digests_size(); i += 2)
        observation.digests.push_back({in.digests(i), in.digests(i + 1)});
    if (static_cast<std::size_t>(in.blames_size()) > members) refuse("too many blames");
    for (const auto& blame : in.blames()) {
        if (blame.member() >= members) refuse("a blame of nobody");
        observation.blames.push_back({blame.member(), printable(blame.cause())});
    }
    return observation;
}

}  // namespace

std::string printable(std::string_view text) {
    std::string out(text.substr(0, kMaximumCause));
    std::replace_if(out.begin(), out.end(), [](char c) { return c < ' ' || c > '~'; }, '?');
    return out;
}

RoundId to_round_id(const std::string& bytes) {
    RoundId id;
    if (bytes.size() != id.size()) refuse("an impossible round id");
    std::copy(bytes.begin(), bytes.end(), id.begin());
    return id;
}

Bytes encode_round_message(const RoundMessage& message) {
    proto::RoundMessage out;
    if (message.round) out.set_round(message.round->data(), message.round->size());
    if (!message.begin.empty()) out.mutable_begin()->ParseFromString(message.begin);
    if (message.vote) write(*message.vote, *out.mutable_vote());
    if (message.observation) write(*message.observation, *out.mutable_observation());
    out.set_unheard(message.unheard);
    return net::to_control(out);
}

RoundMessage decode_round_message(ByteView bytes, std::size_t members) {
    proto::RoundMessage in;
    if (!in.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) refuse("bytes that cannot be read");
    RoundMessage message;
    if (!in.round().empty()) message.round = to_round_id(in.round());
    if (in.has_vote()) message.vote = read(in.vote(), members);
    if (in.has_observation()) message.observation = read(in.observation(), members);
    message.unheard = in.unheard();
    return message;
}

}  // namespace shoal::collective
