// What the members of a round agree on before they send anything: who takes part and with what, and what
// follows from it.
//
// Each peer signs its offer (Join). The leader lists the joins of all members in a Begin; every member checks
// them and works out the same plan from it: the shares, the scales, the round's id. So the leader decides who
// is in, and nothing else.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "shoal/base/identity.h"
#include "shoal/base/units.h"
#include "shoal/collective/averager.h"
#include "shoal/collective/objections.h"
#include "shoal/compress/vector_codec.h"

namespace shoal::proto {
class Begin;
class SignedJoin;
}  // namespace shoal::proto

namespace shoal::collective {

inline constexpr unsigned kHighestAttempt = 1U << 20U;

/// Longer joins are refused: as many as kLargestGroup fit into a message, with a member's whole observation.
inline constexpr std::size_t kMaximumJoinBytes = (net::kMaximumControlBytes - 32 * 1024) / kLargestGroup;

/// One peer's offer for the round of (step, attempt).
struct Join {
    PeerId peer;
    Step step{};
    unsigned attempt = 0;
    Role role = Role::full;
    double weight = 0;
    double upload = 0, download = 0;  ///< bytes per second; 0: unknown
    std::size_t elements = 0;         ///< 0 for an auxiliary peer
    std::size_t state_elements = 0;   ///< of them, at the end (RoundRequest::state_tail)
    bool state_counts = false;
    std::string codec;        ///< name of the VectorFormat
    compress::Pieces pieces;  ///< of its vector; empty for an auxiliary peer, or where one codec serves all
    std::uint64_t nonce = 0;  ///< of the call of average() that it belongs to
    RoundId last_round{};     ///< where its state comes from (lineage.h); 0 without last_members
    std::vector<Objection> objections;        ///< to the claims of others
    std::vector<std::uint64_t> last_members;  ///< member_number of each, ascending
    bool newcomer = false;
    std::string signed_bytes;  ///< the SignedJoin that it came in, to be passed on as it is
};

/// The limits that a join must keep; from AveragerSettings.
struct JoinLimits {
    explicit JoinLimits(const AveragerSettings& settings);
    std::string run;
    std::size_t maximum_elements;
    double maximum_weight;
    std::function<double(const PeerId&, Step)> plausible_weight;  ///< may be empty
    bool must_be_signed;  ///< joins of other peers; true in a swarm whose peers sign
};

/// Serialises and signs. Without a signer the join is not signed.
std::string sign_join(const Join& join, const std::string& run, const Signer* signer);

/// Reads a SignedJoin. Throws Error(protocol_violation) naming the peer when anything in it is impossible, or
/// Error(corrupted) when the signature does not fit.
Join check_join(const std::string& signed_join, const JoinLimits& limits);

/// Orders candidates for the lead: the one with the lowest rank leads. Depends on step and attempt, so the
/// lead moves on.
Digest leader_rank(const PeerId& peer, Step step, unsigned attempt);

struct Share {
    std::size_t begin = 0, end = 0;  ///< elements of the vector
    std::size_t size() const { return end - begin; }
    bool empty() const { return begin == end; }
};

struct RoundPlan {
    RoundId id{};
    Step step{};
    unsigned attempt = 0;
    std::size_t leader = 0, self = 0;  ///< indices among members
    std::vector<Join> members;         ///< ascending PeerId
    std::size_t elements = 0;
    std::size_t chunk_elements = 0;
    std::shared_ptr<const compress::VectorCodec> codec;
    std::vector<Share> shares;        ///< one a member, in member order, without gaps
    std::vector<float> scales;        ///< weight / sum of weights, rounded to float
    std::size_t state_begin = 0;      ///< where the gradient ends and the state begins; `elements`: no state
    std::vector<float> state_scales;  ///< instead of `scales` from there on: 1 / number of states that count,
                                      ///< or 0
    std::vector<SplitMember> lines;   ///< that the shares follow from: claims, filled in and cut
    double bytes = 0;                 ///< of one encoded vector
    double promised_seconds = 0;      ///< that sending takes by these lines; 0 if nobody claims any
    std::vector<bool> proven;         ///< by member: its join is known to be its own (Signatures)
    std::string begin_message;        ///< that all this follows from

    bool contributes(std::size_t member) const { return members[member].role != Role::auxiliary; }
    /// True if it has something that counts.
    bool sends(std::size_t member) const { return members[member].weight > 0 || state_scales[member] > 0; }
    std::size_t chunks_of(std::size_t owner) const {
        return (shares[owner].size() + chunk_elements - 1) / chunk_elements;
    }
    /// The elements of a chunk of an owner's share: chunk_elements, its ends moved to cuts of the codec.
    Share chunk(std::size_t owner, std::size_t index) const;
    /// The member with this id, if there is one.
    std::optional<std::size_t> index_of(const PeerId& peer) const;
};

/// Leader: the chunk for a round of these joins, at most `usual`. A result goes back when its whole chunk has
/// come from everybody, so a round takes longer than its lines need by the time of a chunk of each owner; on
/// slow lines chunks are shorter, down to kSmallestChunk.
std::size_t fitting_chunk(std::span<const Join> joins, std::size_t usual,
                          const compress::VectorFormat& format);

/// Leader: names and signs a round. @param joins  any order, the leader's own among them.
std::string make_begin(const PeerId& leader, std::uint64_t nonce, std::vector<Join> joins,
                       std::size_t chunk_elements, const Signer* signer);

/// Whose signatures read_begin() checks.
enum class Signatures {
    all,  ///< the leader's and all members': somebody has passed the Begin on
    /// None yet: it has come from its leader itself, over a connection that proves who that is. What a member
    /// offers is also proven when it speaks in this round: the round's id stands for the whole Begin, and
    /// nobody takes part in one that changes its offer. Of the others prove_join() must be asked before the
    /// round counts. It saves 0.11 ms of processor time a member and round.
    later,
    known,  ///< none: it is our own, of joins that have been checked
};

/// Throws Error(corrupted) unless the member whose join this is has signed it. Nothing if nobody signs.
void prove_join(const Join& join, const JoinLimits& limits);

/// Works out the plan from a Begin, whoever passes it on. Throws Error(protocol_violation | corrupted) unless
/// the leader is a member and has signed it, the members are in order and fit each other (step, attempt,
/// lengths, codec, pieces), `own` is among them unchanged, somebody contributes a weight and somebody
/// reduces, and the group may go on (lineage.h).
RoundPlan read_begin(const std::string& begin, const Join& own, const JoinLimits& limits,
                     const compress::VectorFormat& format, std::size_t maximum_group,
                     Signatures signatures = Signatures::all);

/// Elements, of a round that does not ask for less. In shorter chunks their headers would count.
inline constexpr std::size_t kSmallestChunk = 2048;

/// Largest chunk of at most `wanted` elements that the codec can cut and a message can carry.
std::size_t usable_chunk(std::size_t wanted, const compress::VectorFormat& format);

}  // namespace shoal::collective
