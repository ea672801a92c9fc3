// The state machine of a full or client-mode peer. training_peer.h has the diagram and make_training_peer.
//
// State   meaning                                              leaves to
// start   nothing is known of the swarm yet                    synchronise, accumulate (join_run)
// synch.  downloads state; says training = false               accumulate, or start again (synchronise)
// accum.  computes one micro-batch after the other             average when the batch is full; synchronise
// when the swarm
//                                                              is ahead, or holds another state (accumulate)
// average takes part in rounds until one is decided 'averaged' apply; accumulate after 'failed' (at once back
// here, unless
//                                                              the lost peer's samples left the batch
//                                                              unfilled); synchronise after 'cut off'
//                                                              (average)
// apply   takes the step                                       accumulate (apply)
#pragma once

#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "shoal/collective/average_history.h"
#include "shoal/collective/companions.h"
#include "shoal/collective/role_keeper.h"
#include "shoal/collective/training_peer.h"
#include "shoal/collective/turn.h"

namespace shoal::collective {

class Trainer final : public TrainingPeer, public std::enable_shared_from_this<Trainer> {
  public:
    Trainer(net::Network& network, Clock& clock, Averager& averager, ProgressTracker& progress,
            Compute& compute, StateTransferSettings transfer, TrainingSettings settings,
            TrainingObserver& observer, Log log);

    awaitable<void> run(Step start) override;
    Step step() const override { return step_; }

  private:
    // --- synchronise (trainer_synchronise.cpp) ---
    awaitable<bool> synchronise();
    void check_offer(const State& state, Step target, DownloadReport& download) const;
    bool is_behind() const { return progress_.view().step > step_; }
    bool has_diverged() const;
    bool is_lost_ahead();
    std::optional<StateClaim> rival() const;
    bool has_rival() const { return rival().has_value(); }
    bool needs_state() { return is_behind() || has_diverged() || is_lost_ahead(); }
    std::vector<PeerId> donors(Step step, bool diverged) const;
    static awaitable<StatePointer> snapshot(std::weak_ptr<Trainer> weak);

    // --- averaging in groups (trainer_groups.cpp) ---
    bool may_catch_up() const;
    awaitable<void> catch_up();
    awaitable<bool> others_fill_the_batch();
    void adapt_to_groups(RoundRequest& request) const;
    awaitable<void> leave_group(const Verdict& verdict);
    void note_origin(const Verdict& verdict, bool applied);

    // --- steps taken after the others (trainer_replay.cpp) ---
    std::vector<PeerId> replay_donors() const;
    std::optional<StateClaim> may_replay() const;
    bool will_replay() const;
    awaitable<bool> replay(DownloadReport& report);
    awaitable<KeptAverage> fetch_from(PeerId donor, DownloadReport& report);
    awaitable<bool> take_step(const KeptAverage& average, StateClaim following);
    awaitable<void> try_step(const KeptAverage& average, StateClaim following, bool& good);
    std::int64_t steps_behind() const;
    double replay_bytes() const;
    bool come_in_time(double bytes) const;
    void learn_line(const DownloadReport& download);
    Duration patience_for_average() const;

    // --- whose state is taken (trainer_claims.cpp) ---
    bool is_vouched_for(const StateClaim& state) const;
    awaitable<bool> adopt(StatePointer state);
    void doubt_for_long(const std::vector<PeerId>& donors, Step step);
    std::vector<PeerId> claimants_of(const StateClaim& state) const;
    bool is_called_away() const;
    awaitable<void> watch_rivals();
    awaitable<void> until_settled();
    awaitable<void> fetch_candidate();
    awaitable<void> weigh_candidate();

    // --- join (trainer_join.cpp) ---
    awaitable<void> join_run();
    bool has_company() const;
    bool agrees_with_most() const;
    std::size_t claimants(Step step, const std::set<PeerId>& disbelieved) const;
    Step newest_claim(const std::set<PeerId>& disbelieved) const;
    awaitable<bool> take_checkpoint(Step target, std::set<PeerId>& disbelieved);

    // --- train (trainer.cpp) ---
    awaitable<void> join_and_train();
    awaitable<void> train();
    awaitable<void> take_steps();
    awaitable<void> accumulate();
    struct Accumulated;
    awaitable<void> micro_batch(Accumulated& place);
    awaitable<void> average();
    awaitable<bool> wait_for_companions();
    bool companions_are_here() const;
    Lineage lineage() const;
    bool is_quorum_lost();
    std::vector<ExpectedPeer> expected() const;
    void keep_score(const Verdict& verdict);
    void on_failed(const Verdict& verdict);
    void on_cut_off(const Verdict& verdict);
    void go_on_without();
    awaitable<void> back_off();
    awaitable<void> apply(const Verdict& verdict);
    awaitable<void> stay_for_the_last();
    double swarm_loss(const Verdict& verdict) const;
    double own_loss() const;
    void empty_accumulator();
    void drop_samples();
    void report();

    // --- beside a round (trainer_ahead.cpp) ---
    awaitable<Verdict> run_round(RoundRequest request);
    awaitable<void> compute_ahead();
    void merge_ahead();
    bool has_its_part_of_the_next_batch() const;

    // --- rest (trainer_roles.cpp) ---
    awaitable<void> rest();
    void choose_role(const Verdict& verdict);

    /// Until the condition holds (true) or the deadline passes (false); the condition is asked on every
    /// change of the view.
    awaitable<bool> wait_until(std::function<bool()> condition, TimePoint deadline);
    awaitable<void> until(std::function<bool()> condition);

    net::Network& network_;
    Clock& clock_;
    Averager& averager_;
    ProgressTracker& progress_;
    Compute& compute_;
    StateTransferSettings transfer_;
    TrainingSettings settings_;
    TrainingObserver& observer_;
    Log log_;
    Turn turn_;  ///< to use compute_
    std::shared_ptr<StateDonor> donor_;
    std::shared_ptr<AverageHistory> history_ = std::make_shared<AverageHistory>();

    Step step_{};         ///< of the state in compute_; changes only together with it, within a turn
    Fingerprint digest_;  ///< of that state
    bool training_ = false, waiting_ = false;

    struct Accumulated {
        Samples samples{};
        double loss_sum = 0;  ///< weighted by samples
    };

    // Of the current step.
    Accumulated current_;
    /// Where this peer's parameters come from, in groups.
    enum class Origin {
        step_before,  ///< the average of the step before, or what all begin with: they count for the next one
        download,     ///< another peer's, whose they are already: good to begin with and to pass on
        long_ago,     ///< a step that was not the last one (catch_up)
    };
    Origin origin_ = Origin::step_before;
    int steps_among_late_ = 0;  ///< in a row, in rounds in which nobody's parameters were of the step

    Accumulated ahead_;     ///< computed during a round, for the step after it (TrainingSettings::delayed)
    bool carries_ = false;  ///< samples of an earlier step, whose round it has missed (trainer_groups.cpp)
    bool held_ = false;     ///< micro-batches are kept apart in compute_ (Compute::hold)
    bool round_is_over_ = false;
    bool is_decided_ = false;  ///< the newest round is averaged
    unsigned attempt_ = 0;
    unsigned failures_ = 0;      ///< rounds in a row that were not 'averaged'
    bool must_compute_ = false;  ///< a round failed and we brought nothing: bring something
    std::vector<PeerId> excluded_;
    std::vector<float> result_, nothing_;
    std::vector<std::size_t> tensors_;  ///< lengths of those in the gradient

    Companions companions_;
    RoleKeeper role_;
    std::optional<TimePoint> no_quorum_since_;  ///< no round could begin, or be decided, for want of members
    TimePoint decided_at_;
    double apply_seconds_ = 0;
    double last_loss_ = 0;
    TimePoint last_step_at_;
    PerformanceEma speed_;
    double micro_batch_seconds_ = 0;
    std::uint64_t bytes_sent_ = 0, bytes_received_ = 0;
    unsigned failed_downloads_ = 0;
    unsigned downloads_since_round_ = 0;  ///< more than one: the swarm was gone when we arrived
    double line_rate_ =
        0;  ///< bytes per second, as the last download and averages since have shown; 0: unknown
    std::size_t state_bytes_ = 0, average_bytes_ = 0;  ///< of the last that came; 0: unknown
    std::optional<Step> arriving_at_;  ///< the step that we download, once we have to ask the swarm to wait
    std::optional<TimePoint> ahead_since_;
    StatePointer candidate_;  ///< of a rival, downloaded and not yet looked at
    DownloadReport candidate_download_;
    std::int64_t candidate_may_lag_ = 0;  ///< steps behind ours
    bool chasing_ = false;                ///< a rival is to be caught up with by synchronise()
};

/// Backoff after several failures in a row: zero at first, then growing and different for each peer.
Duration retry_pause(const PeerId& self, Step step, unsigned failures);

}  // namespace shoal::collective
