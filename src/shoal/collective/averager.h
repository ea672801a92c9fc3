// One averaging round: find a group, split the vector, all-reduce it, agree on the outcome.
//
// A peer that is ready calls average(). The round runs in four phases (docs/algorithms.md has the costs,
// docs/wire.md the messages):
//   match    every ready peer joins the leader of (step, attempt), which begins the round once all expected
//   peers have joined, or
//            those that are missing have had the time that their own reports promise;
//   reduce   butterfly all-reduce: each member owns a share of the vector, adds the contributions of all
//   members to it in member
//            order, encodes the result once, and sends the same bytes to everybody, itself included;
//   vote     single-decree consensus (Paxos) among the members that the round named at its start; the quorum
//   is a majority, or
//            exactly half of them with the lowest PeerId among it. 'averaged' is proposed only when every
//            member holds every result with the same digest; whoever sees a failure proposes 'failed' with
//            its cause;
//   end      everybody who learns the decision acts on it; who reaches no quorum is 'cut off' and changes
//   nothing.
//
// Sources: butterfly and roles, DeDLOC (section 3.3 of the notes); results as values and not as deltas, and
// the vote, are ours. Thread: the one protocol thread; adding and coding run there, too.
#pragma once

#include <array>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "shoal/base/clock.h"
#include "shoal/base/hash.h"
#include "shoal/base/identity.h"
#include "shoal/base/log.h"
#include "shoal/base/random.h"
#include "shoal/base/units.h"
#include "shoal/collective/phase.h"
#include "shoal/collective/work_split.h"
#include "shoal/net/network.h"

namespace shoal::collective {

/// Bytes per second that a peer may claim: none, or between these.
inline constexpr double kMinimumBandwidth = 1, kMaximumBandwidth = 1e15;

enum class Role {
    full,       ///< contributes and reduces
    client,     ///< contributes; accepts no connections and reduces nothing
    auxiliary,  ///< reduces, contributes nothing and receives no results
};
std::string_view to_string(Role role);

/// Somebody whom the leader should wait for, as far as this peer knows (from progress records).
struct ExpectedPeer {
    PeerId peer;
    Role role = Role::full;
    TimePoint ready_by;  ///< when it should have joined at the latest, by its own reports; the leader waits
                         ///< no longer for it
};

/// A Begin carries all joins, and each the last round's members: of this many, with all that a join may hold,
/// it has some 210 KiB, and a message takes 256 KiB.
inline constexpr std::size_t kLargestGroup = 64;

/// After this many failed rounds of one step that name a peer as their cause, it is left out of that step
/// where the others are enough.
inline constexpr unsigned kFailuresOfOneStep = 2;

struct AveragerSettings {
    std::string run;              ///< names the swarm: prefix of all service names
    std::string codec = "fp16";   ///< of contributions and results, as known to compress::make_codec
    std::string small_codec;      ///< of those of small tensors; empty: the same
    std::size_t small_below = 0;  ///< tensors of fewer elements are small
    Role role = Role::full;
    double upload = 0;    ///< bytes per second that this peer says it can send, 1 to kMaximumBandwidth; 0: as
                          ///< measured (line_meter.h), and until then unknown, which counts as the mean
    double download = 0;  ///< and receive
    /// Sends as evenly as `upload` allows, and no more of a share ahead than others take
    /// (docs/algorithms.md). For who knows its line: who has yet to measure it needs bursts.
    bool paced = false;
    std::size_t chunk_elements = 65536;               ///< floats per message
    std::size_t maximum_elements = 1u << 30;          ///< a round for a longer vector is refused
    std::size_t maximum_group = 64;                   ///< at most kLargestGroup
    Duration join_timeout = std::chrono::seconds(5);  ///< a leader that is asked must answer or begin within
                                                      ///< this, beyond the ready_by of its expected peers
    Duration stall_timeout = std::chrono::milliseconds(
        1500);  ///< a member that owes bytes and moves none for this long is lost (grows with observed rates)
    double maximum_weight = 1e9;  ///< a contribution that claims more samples is refused
    /// The most that a peer can honestly bring to the round of a step, as far as this peer knows; a join that
    /// claims more is refused. None: whatever maximum_weight allows.
    std::function<double(const PeerId&, Step)> plausible_weight;
    std::shared_ptr<const Signer>
        signer;        ///< of this peer: signs its joins, so that no leader can speak for it, and demands
                       ///< the same of others. Without one, joins are not signed and not checked.
    PhaseProbe probe;  ///< for fault tests (phase.h)
};

using RoundId = std::array<std::uint8_t, 16>;

/// Where a peer's state comes from, so that of two groups of the swarm at most one goes on (companions.h).
struct Lineage {
    RoundId round{};              ///< the averaged round that led to it, if this peer was a member
    std::vector<PeerId> members;  ///< of that round, those that may still take part; empty: it was no member
    bool newcomer = false;        ///< no member: it begins nothing without one. Else it may begin a history
};

struct RoundRequest {
    Step step{};           ///< the round belongs to the step that follows this one
    unsigned attempt = 0;  ///< 0 for the first try of a step; +1 after each verdict 'failed'
    std::span<const float>
        contribution;  ///< mean gradient of this peer; empty for an auxiliary peer. Not changed.
    std::span<const std::size_t>
        tensors;  ///< lengths of the tensors that the vector consists of; empty: it is one
    /// So many elements at the end are not the gradient, but the state that it was computed with. They travel
    /// as small tensors do, and are averaged with equal weights over the members whose state counts; over all
    /// members if nobody's does. Fewer than the vector has; the same for all members.
    std::size_t state_tail = 0;
    bool state_counts = false;  ///< with a state_tail: this peer's state is that of the step
    std::span<float> result;    ///< receives the weighted average; same length; provisional until 'averaged'
    double weight = 0;          ///< samples behind the gradient; 0 counts nothing
    std::function<std::vector<ExpectedPeer>()>
        expected;  ///< asked again while the leader waits; without this peer itself
    std::vector<PeerId>
        excluded;  ///< lost in an earlier attempt: not waited for, welcome when they join by themselves
    /// Asked again while it looks for a group: true if, by its records, that peer is at this step. This peer
    /// begins no round with others, and joins none of theirs. None: whoever comes is welcome.
    std::function<bool(const PeerId&)> may_take_part;
    std::function<Lineage()> lineage;  ///< asked again while it looks for a group; none: rounds are unrelated
    bool needs_quorum = true;  ///< without a lineage: of those that are expected. False: whoever has come
    std::function<bool()>
        is_over;  ///< asked likewise: true if the swarm is past this step ('cut off' at once)
    /// Asked now and then while this peer holds all results but nobody in reach knows whether the others do:
    /// true ends the wait ('cut off'), and the next call for this step goes on with it. None: at once.
    std::function<bool()> give_up;
};

struct Contributor {
    PeerId peer;
    Role role = Role::full;
    double weight = 0;
    bool state_counts = false;  ///< its state was among those that were averaged (RoundRequest::state_tail)
};

struct RoundReport {
    double match_seconds = 0, reduce_seconds = 0, vote_seconds = 0;
    std::uint64_t bytes_sent = 0, bytes_received = 0;  ///< payload of this peer, before TLS
};

struct Verdict {
    enum class Outcome { averaged, failed, cut_off } outcome = Outcome::failed;
    std::string cause;                      ///< of 'failed' and 'cut off': one sentence that names the peer
    std::vector<Contributor> contributors;  ///< all members of the round in member order (ascending PeerId)
    std::vector<PeerId> lost;               ///< members named as the cause of 'failed'
    Fingerprint digest;                     ///< of the encoded results, equal on all members
    std::vector<SplitMember> lines;  ///< by contributor, bytes per second, as the plan reckoned with them;
                                     ///< empty if nobody knows its line
    double vector_bytes = 0;         ///< of one encoded vector
    RoundId round{};                 ///< of 'averaged'
    unsigned attempt = 0;            ///< of the round that was decided
    std::optional<Step> swarm_step;  ///< of 'cut off': to which most have gone on, by their own words
    RoundReport report;
};
std::string_view to_string(Verdict::Outcome outcome);

class Averager {
  public:
    virtual ~Averager() = default;

    /// Takes part in the round of (step, attempt), together with everybody else who asks for it. Always ends
    /// with a verdict while time passes; throws only Error(cancelled), or Error(invalid_argument) for a
    /// request that makes no sense.
    virtual awaitable<Verdict> average(RoundRequest request) = 0;

    /// True if this peer holds all results of a round, and has not learned whether it is averaged.
    virtual bool in_doubt() const = 0;
    /// The outcome of that round matters no longer: the state has been replaced.
    virtual void forget_doubt() = 0;

    /// What this peer claims of its line, bytes per second; 0: unknown yet.
    virtual double upload() const = 0;
    virtual double download() const = 0;
    /// A probe has found these rates; 0: nothing.
    virtual void observe_line(double upload, double download) = 0;
};

/// @param random  picks round ids and nothing else.
std::shared_ptr<Averager> make_averager(net::Network& network, Clock& clock, Random random,
                                        AveragerSettings settings, Log log);

}  // namespace shoal::collective
