// Who has got how far: progress records of all peers, checked for plausibility, and what follows from them.
//
// Source: DeDLOC, sections 2.1 to 2.3 and 3.1 of the notes, with three changes: a step is taken on samples
// that were reported, never on an estimated time; records are signed and limited to what is plausible (one
// that claims step 10^9 moves nobody); peers also tell their direct neighbours, so that a full batch is
// noticed within a round trip.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "shoal/base/async.h"
#include "shoal/base/hash.h"
#include "shoal/base/log.h"
#include "shoal/base/units.h"
#include "shoal/collective/averager.h"
#include "shoal/dht/directory.h"
#include "shoal/net/network.h"

namespace shoal::collective {

/// What one peer says of itself; its directory record and its messages carry exactly this.
struct Progress {
    PeerId peer;
    std::string name;  ///< chosen by its user, for humans; at most 24 bytes
    Role role = Role::full;
    Step step{};                     ///< of its parameters
    Samples samples{};               ///< accumulated for the next step
    double samples_per_second = 0;   ///< smoothed (performance EMA)
    double micro_batch_seconds = 0;  ///< smoothed; how long it may need until it is ready
    bool training = false;           ///< false while it downloads state, or never trains
    Fingerprint digest;              ///< of parameters and optimizer state at `step`
    double loss = 0;                 ///< mean over its recent micro-batches, for the monitor
    std::uint64_t bytes_sent = 0, bytes_received = 0;  ///< since its start, for the monitor
    WallTime time{};                                   ///< when it was said
    /// It waits for the averaging round of (step, attempt). Of a peer that does not train: it downloads the
    /// state of `step` or a later one, and asks that the next round waits for it (which is granted now and
    /// then, progress_book.cpp).
    bool waiting = false;
    unsigned attempt = 0;      ///< of the step's round: which try it waits for, or would wait for
    double swarm_size = 0;     ///< where the swarm averages in groups: its estimate of the peers in it
    std::uint32_t groups = 0;  ///< likewise: into how many it falls; 0: unknown
    double batch_seconds = 0;  ///< likewise: how long a group takes to gather a batch; 0: unknown
};

/// Smoothed speed: exponential moving average of seconds per sample with bias correction (notes 2.3), paused
/// while averaging because time that is not measured is simply not passed in.
class PerformanceEma {
  public:
    explicit PerformanceEma(double alpha = 0.1) : alpha_(alpha) {}
    void update(Samples samples, double seconds);
    /// Samples per second; 0 before the first update.
    double samples_per_second() const;

  private:
    double alpha_, average_ = 0;
    double remaining_ = 1;  ///< (1 - alpha)^updates: the weight that the initial 0 still has
};

struct ProgressSettings {
    std::string run;
    Samples target_batch_size{};
    bool delayed = false;  ///< peers compute for a step while they average the one before it
    /// A round waits for those that are late only as long as it pays (waiting_worth.h); else as long as they
    /// ask.
    bool adaptive_quorum = false;
    std::size_t group_size = 0;  ///< the swarm averages in groups of about so many; 0: it is one group
    Duration time_to_live = std::chrono::seconds(30);  ///< of a record
    Duration report_interval =
        std::chrono::milliseconds(250);  ///< at most one directory record in this time, newest wins
};

/// A state of which somebody says that it is the swarm's.
struct StateClaim {
    Step step{};
    Fingerprint digest;
};

/// What others have said of a state.
struct Vouchers {
    std::size_t agree = 0;   ///< peers that have said of themselves that they hold this very state
    std::size_t differ = 0;  ///< peers that held another one at this step
};

/// The swarm as this peer sees it.
struct SwarmView {
    Step step{};        ///< the swarm's step, see ProgressTracker
    Samples samples{};  ///< accumulated for the next step by all peers at `step`
    double samples_per_second = 0;
    std::size_t peers = 0;  ///< live records, this peer included
    std::size_t training_peers = 0;
    Duration eta{0};         ///< until the batch is full, by samples and speeds
    Step crowd{};            ///< the highest step that a majority of the live training peers has reached
    std::size_t voters = 0;  ///< peers that this majority is one of; those in doubt are none
    /// The state on which most training peers at `step` agree (ties: the one of the lowest PeerId). For a
    /// peer that trains at that step its own, unless several others who are most hold another.
    Fingerprint digest;
    /// Of a peer that trains: the state of the largest camp that contradicts it, though nobody vouches for
    /// it.
    std::optional<StateClaim> contradiction;
    std::optional<StateClaim> rival;  ///< the same, if this peer has no company
};

/// Keeps the view current. The swarm's step is the highest that somebody can vouch for: a majority (by count)
/// of the live training peers, or a quorum of those with whom this peer took its last step. So a newcomer
/// believes the crowd, and a lone liar moves nobody (swarm_rules.h).
class ProgressTracker {
  public:
    virtual ~ProgressTracker() = default;

    /// Announces this peer and starts to listen to others.
    virtual awaitable<void> start() = 0;
    /// Says goodbye (an empty record), so that nobody waits for this peer. What is reported from then on is
    /// not said any more.
    virtual awaitable<void> stop() = 0;

    /// Replaces what this peer says of itself (peer and time are filled in). Connected peers hear of it at
    /// once, of more samples alone as soon as report_pace.h allows. The directory hears of it when the report
    /// interval has passed, too, and of more samples alone with the next repetition (a third of the time to
    /// live).
    virtual void report(Progress own) = 0;

    /// With whom this peer took its last step, itself included; taken into account from the next report on.
    virtual void set_companions(std::vector<PeerId> members) = 0;

    virtual SwarmView view() const = 0;
    /// Live records of all peers, this one included, ascending PeerId.
    virtual std::vector<Progress> peers() const = 0;
    /// Whom a leader at `step` should wait for: live, training, at that step, connected or dialable; and
    /// auxiliary peers.
    virtual std::vector<ExpectedPeer> expected(Step step) const = 0;
    /// True if the newest goodbye of the peer says that it takes part in no round from `step` on, but may
    /// have before: a quorum of those that led to `step` needs it no longer, even if it has come back since.
    virtual bool has_left(const PeerId& peer, Step step) const = 0;
    /// A peer is known to be dead (a round lost it and its connection is gone): forget it until it speaks
    /// again.
    virtual void forget(const PeerId& peer) = 0;
    /// A peer could not prove the step that it claims (nobody had the state): for this long its claim moves
    /// nothing, unless a majority says the same.
    virtual void doubt(const PeerId& peer, Duration how_long) = 0;
    virtual bool doubts(const PeerId& peer) const = 0;
    /// The most samples that the peer can honestly bring to the round of this step, by what it has reported;
    /// infinite where that says nothing. For this peer itself: the most that others take from it.
    virtual double plausible_weight(const PeerId& peer, Step step) const = 0;
    /// A round of this step had these members: whoever was waited for and has not come is trusted half as
    /// much the next time, who has come is trusted more again.
    virtual void keep_score(Step step, std::span<const PeerId> members) = 0;
    /// Between 0 and 1: the part of the time that a peer asks for which it is granted.
    virtual double trust(const PeerId& peer) const = 0;
    /// Where the swarm averages in groups: by the records, this peer may be a member of this step's round.
    virtual bool may_take_part(const PeerId&, Step) const { return true; }
    /// Likewise: how long those whose micro-batches take half as long as ours, or less, need to fill the
    /// batch without us; long if there are none.
    virtual Duration filled_by_quicker() const { return std::chrono::hours(24); }
    /// Likewise: most of those that the search for a round has met are past our step, at this one.
    virtual void heard_of(Step) {}
    /// Of the live peers, those in doubt and this one excepted; they may be past that step by now.
    virtual Vouchers vouchers(const StateClaim& state) const = 0;
    /// The state of that step which most of the same peers have said they hold, if at least two have, and
    /// more than have said anything else.
    virtual std::optional<StateClaim> named_by_most(Step step) const = 0;
    /// True when the swarm's batch is full, or when more than half of the other training peers at the swarm's
    /// step wait for its round already (their view may be newer than ours).
    virtual bool batch_is_full() const = 0;
    /// Wakes on every change of the view.
    virtual Signal& changed() = 0;
};

std::shared_ptr<ProgressTracker> make_progress_tracker(net::Network& network, dht::Directory& directory,
                                                       Clock& clock, ProgressSettings settings, Log log);

/// For AveragerSettings::plausible_weight. Does not keep the tracker alive; without it, it allows everything.
std::function<double(const PeerId&, Step)> plausible_weight_by(std::weak_ptr<ProgressTracker> tracker);

}  // namespace shoal::collective
