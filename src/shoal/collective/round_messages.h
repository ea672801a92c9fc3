// The messages of the vote as bytes, and back with every number checked.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "shoal/collective/round_plan.h"
#include "shoal/collective/share_reducer.h"
#include "shoal/collective/vote.h"

namespace shoal::collective {

/// What one member saw of the round, as far as it has come.
struct Observation {
    bool complete = false;
    std::vector<Fingerprint> digests;  ///< of the shares, in member order; empty unless complete
    std::vector<Blame> blames;
};

/// One message on a vote stream.
struct RoundMessage {
    std::optional<RoundId> round;  ///< in the first message of a stream
    std::string begin;             ///< likewise, unless it goes to the leader
    std::optional<VoteMessage> vote;
    std::optional<Observation> observation;
    bool unheard = false;  ///< the sender owes results to a member whose hello has not come
};

Bytes encode_round_message(const RoundMessage& message);

/// Throws Error(protocol_violation) on anything that no correct member of a round of this size sends.
RoundMessage decode_round_message(ByteView bytes, std::size_t members);

/// Reads a round id. Throws Error(protocol_violation) unless it has its 16 bytes.
RoundId to_round_id(const std::string& bytes);

/// Text from elsewhere, fit for a message or a log: printable ASCII, at most 300 bytes.
std::string printable(std::string_view text);

}  // namespace shoal::collective
