// What a peer knows of all others: their newest records, with expiry. The part of the progress tracker that
// has neither network nor coroutines.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <vector>

#include "shoal/base/clock.h"
#include "shoal/collective/broken_promises.h"
#include "shoal/collective/progress_record.h"

namespace shoal::collective {

/// The longest time that one peer is waited for, whatever it says of its speed.
inline constexpr double kLongestPromise = 60.0;

/// A newcomer whose download takes longer than a step would chase the swarm for ever. It may ask (by a record
/// that says 'waiting' but not 'training', with the step that it downloads) that the round of that step waits
/// for it. All newcomers together are waited for so long, and so often, that nobody can slow down the swarm
/// much by asking, under however many keys.
inline constexpr Duration kNewcomersGrant = std::chrono::seconds(30);
inline constexpr Duration kBetweenGrants = std::chrono::seconds(180);

/// Invariants: `entries_` never holds our own id; an entry's sequence only grows while it lives; a forgotten
/// or departed peer has no entry but a tombstone, so that an old record that is delivered again does not
/// bring it back.
class ProgressBook {
  public:
    /// @param promises  broken ones, where several books share them; null: it has its own
    ProgressBook(PeerId self, ProgressSettings settings, std::shared_ptr<BrokenPromises> promises = nullptr)
        : self_(self),
          settings_(std::move(settings)),
          promises_(promises ? std::move(promises) : std::make_shared<BrokenPromises>()) {
        own_.peer = self;
    }

    enum class Source { directory, connection };

    /// Takes in a record. Returns true if it changed what we know (and false for an old one).
    /// @param alive_for  how long it holds at most, from now
    bool accept(const ProgressRecord& record, Source source, Duration alive_for, TimePoint now);
    /// The peer took its record out of the directory, without a word about its step.
    bool depart(const PeerId& peer);
    /// Until it speaks again over a connection, or newly in the directory.
    bool forget(const PeerId& peer);
    void doubt(const PeerId& peer, TimePoint until) { doubted_[peer] = until; }
    bool doubts(const PeerId& peer, TimePoint now) const;
    /// ProgressTracker::plausible_weight.
    double plausible_weight(const PeerId& peer, Step step, TimePoint now) const;
    /// ProgressTracker::keep_score.
    void keep_score(Step step, std::span<const PeerId> members, TimePoint now);
    /// ProgressTracker::trust.
    double trust(const PeerId& peer, TimePoint now) const;
    /// ProgressTracker::vouchers.
    Vouchers vouchers(const StateClaim& state, TimePoint now) const;
    /// ProgressTracker::named_by_most.
    std::optional<StateClaim> named_by_most(Step step, TimePoint now) const;
    /// Taken into account from the next set_own() on.
    void set_companions(std::vector<PeerId> members);
    /// Drops what has expired. Returns true if there was something.
    bool sweep(TimePoint now);
    /// When sweep() should be called next.
    TimePoint next_expiry() const;

    /// This book is of one group of a swarm of about so many peers: the group gathers the part of the batch
    /// that is its share by the number of its members, whoever comes and goes.
    void share_batch(double swarm_size, TimePoint now);
    /// The book of a group: false for a peer that is on its way and needs longer than anybody is waited for.
    bool will_come(const Progress& coming) const;
    /// Likewise: this peer works for its step from now on only.
    void begin_step(TimePoint now) { own_step_since_ = now; }
    /// The batch that this book's peers gather together.
    Samples target() const;
    /// The book of a group: peers that are one step behind are on their way to this book's step, and
    /// expected(). Nobody is waited for longer than this.
    void expect_the_coming(Duration longest) { longest_wait_ = longest; }

    void set_own(Progress own, TimePoint now);
    const Progress& own() const { return own_; }

    bool knows(const PeerId& peer) const { return entries_.contains(peer); }
    /// ProgressTracker::has_left.
    bool has_left(const PeerId& peer, Step step) const;
    std::size_t size() const { return entries_.size(); }
    std::vector<Progress> peers() const;
    /// Of how many others the newest record is so. Without a copy, so also for what is asked often.
    template <typename Condition>
    std::size_t count_others(const Condition& is_so) const {
        std::size_t count = 0;
        for (const auto& [peer, entry] : entries_) count += is_so(entry.progress) ? 1 : 0;
        return count;
    }
    const SwarmView& view() const { return view_; }
    bool batch_is_full() const { return full_since_.has_value(); }
    std::optional<TimePoint> full_since() const { return full_since_; }
    /// ProgressTracker::filled_by_quicker.
    Duration filled_by_quicker() const;
    std::size_t dead() const { return tombstones_.size(); }
    /// @param unreachable  true for a peer that can neither be dialled nor dial us
    std::vector<ExpectedPeer> expected(Step step, TimePoint now,
                                       const std::function<bool(const Progress&)>& unreachable) const;

  private:
    /// With an adaptive quorum: when a round begins without those that are still missing.
    std::optional<TimePoint> end_of_waiting(Step step, TimePoint now) const;
    /// The newest states that a peer has said it holds, oldest first, one a step.
    using Claims = std::deque<StateClaim>;
    struct Entry {
        Progress progress;  ///< samples as counted, not as claimed
        Samples claimed{};
        std::uint64_t sequence = 0;
        TimePoint received;       ///< when its newest record came
        TimePoint first_at_step;  ///< when the first of this life came that says progress.step
        TimePoint expires;
        std::optional<TimePoint> at_step_since;  ///< unknown for the step at which we first met it
        /// When it may have begun to compute for the next step; with delayed averaging a step earlier.
        std::optional<TimePoint> computes_since;
        Claims claims;
        bool has_spoken = false;  ///< itself, over a connection; else it is known from the directory only
    };
    struct Tombstone {
        std::uint64_t sequence = 0;
        bool left = false;
        TimePoint until;
    };
    bool is_coming(const Progress& peer, Step step) const;
    /// Since when a peer that is on its way may have worked for this book's step, as far as that counts.
    TimePoint works_since(const Entry& coming) const;
    void remember_dead(const PeerId& peer, Tombstone tombstone);
    /// After every change: the view, and since when the batch is full.
    void judge(TimePoint now);
    bool bury(const PeerId& peer, bool left);
    static void remember_claim(Claims& claims, const Progress& progress);
    /// True while two peers that train have spoken themselves: whom the directory alone knows counts for
    /// nothing then. It may have died, and its last record lives on for a while.
    bool has_company(TimePoint now) const;

    /// The swarm waits for newcomers that have asked for it.
    struct Grant {
        TimePoint since;
        std::set<PeerId> peers;
    };
    bool is_granted(const PeerId& peer) const { return grant_ && grant_->peers.contains(peer); }
    void grant(const PeerId& peer, TimePoint now);

    PeerId self_;
    ProgressSettings settings_;
    Progress own_;
    std::optional<TimePoint> own_step_since_;  ///< when this peer first said that it works for own_.step
    std::vector<PeerId> companions_;           ///< ascending
    std::map<PeerId, Entry> entries_;
    std::map<PeerId, Tombstone> tombstones_;
    std::map<PeerId, Step> left_at_;  ///< of the newest goodbye, with which a peer left the rounds of a step
    std::map<PeerId, TimePoint> doubted_;
    std::optional<Grant> grant_;  ///< the newest
    SwarmView view_;
    std::optional<TimePoint> full_since_;
    std::shared_ptr<BrokenPromises> promises_;
    std::optional<double> swarm_size_;
    Duration longest_wait_{0};  ///< 0: as long as they ask
    TimePoint last_now_;        ///< of the newest call that brought one; for bury() and judge()
};

}  // namespace shoal::collective
