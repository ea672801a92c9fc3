// Drives the vote of one round: streams and timers around the VoteMachine.
//
// While all is well, each member tells the leader what it sees (a sign of life, then 'complete' with its
// digests), and the leader proposes 'averaged' once all are complete with the same digests. Whoever sees a
// failure tells the leader, who waits a moment for the complaints of others and proposes 'failed'. A leader
// that falls silent, or decides nothing after a complaint, is replaced: the others ask around for a decision,
// and propose 'failed' themselves, one after the other in the order of their ranks. Clients never propose:
// they cannot reach each other.
//
//   well --own or reported blame--> trouble --decision--> decided
//     \--leader silent or gone----> trouble --no quorum in reach for a stall_timeout--> cut off
//
// A member that shows signs of life but never says that it is complete, and a leader that shows them but
// never proposes, end the patience of those who are: kVotePatience times the time that the reduce phase took
// for them plus a stall_timeout (lines that are that much slower one way than the other are not waited for).
//
// A ballot of one member more often than honest ones begin new ones is not heeded, so that nobody can
// overtake all others for ever.
//
// A member that has told the leader that it is complete (or the leader, once it has proposed 'averaged') must
// not go its own way before it knows the decision, which the others may have taken: it asks around until
// give_up().
//
// The object outlives run(): until close() it answers members that ask later.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "shoal/base/async.h"
#include "shoal/base/log.h"
#include "shoal/collective/blame.h"
#include "shoal/collective/changes.h"
#include "shoal/net/network.h"

namespace shoal::collective {

/// How much longer than for a complete member everything may take for the others, and how many stall_timeouts
/// a vote that nobody wins goes on.
inline constexpr int kVotePatience = 8;

struct RoundVoteSettings {
    std::string service;  ///< "RUN/vote"
    Duration stall_timeout;
    std::function<void(std::size_t)> unheard = {};  ///< told when a member says so (say_unheard)
};

class RoundVote : public std::enable_shared_from_this<RoundVote> {
  public:
    RoundVote(net::Network& network, Clock& clock, RoundVoteSettings settings, RoundPlan plan, Log log);

    /// Takes over a stream that a member has opened, with its first message.
    void accept(std::size_t member, net::StreamPointer stream, const RoundMessage& first);

    void report_complete(std::vector<Fingerprint> share_digests);
    void report_failure(const Blame& blame);
    /// Tells a member that its hello has not come, though this peer lives and waits for it.
    void say_unheard(std::size_t member);

    /// Until the decision; nothing when this member is cut off. May be called again then.
    /// @param give_up  asked when it is cut off although the round may be averaged (in_doubt)
    awaitable<std::optional<VoteValue>> run(std::function<bool()> give_up);

    /// True once this member has reported that it is complete: from then on the round may be decided so.
    bool may_be_averaged() const { return may_be_averaged_; }
    /// True if the others may decide that the round is averaged, and this member does not know.
    bool in_doubt() const { return may_be_averaged_ && !decision(); }

    const std::optional<VoteValue>& decision() const { return machine_.decision(); }
    const RoundPlan& plan() const { return plan_; }
    /// Why this member was cut off.
    std::string trouble() const;

    /// This member gives up the round (its user has cancelled it): the others notice at once. It still
    /// answers who asks.
    void leave();
    /// Ends all streams. Nothing may be called afterwards.
    void close();

  private:
    using Self = std::shared_ptr<RoundVote>;
    struct Link {
        explicit Link(const asio::any_io_executor& executor) : wake(executor) {}
        net::StreamPointer stream;  // where to write; null while there is none
        std::deque<Bytes> outbox;
        Signal wake;
        bool connecting = false;
        bool failed = false;  // the last try to connect
        unsigned broken = 0;  // streams
        TimePoint heard;
        std::uint64_t bytes = 0;  // received on the connection, at the last tick
        Ballot ballot;            // the last that it proposed in
        unsigned ballots = 0;
        TimePoint ballot_at;
    };

    // What is due now. docs/algorithms.md names the timers.
    void act(TimePoint now);
    void lead(TimePoint now);
    void follow(TimePoint now);
    void propose_failed();
    bool everybody_is_complete() const;
    bool enough_complaints_heard() const;
    bool is_silent(std::size_t member, TimePoint now) const;
    bool hopeless(TimePoint now) const;
    bool cut_off(TimePoint now);
    bool proposal_is_stuck(TimePoint now) const;
    /// This member has been complete for so long that whoever is not holds the round up.
    bool patience_is_over(TimePoint now) const;
    bool admits(std::size_t member, const VoteMessage& vote);
    void forgive_own_sleep(TimePoint now);
    std::size_t turn() const;
    void notice_traffic(TimePoint now);
    void tick_messages();

    void take(std::size_t member, const RoundMessage& message);
    void blame(std::size_t member, const std::string& cause);
    void send(std::size_t member, const RoundMessage& message);
    void send_all(std::vector<VoteOutgoing> messages);
    static awaitable<void> connect(Self self, std::size_t member);
    static awaitable<void> write_messages(Self self, std::size_t member, net::StreamPointer stream,
                                          std::shared_ptr<bool> ended);
    static awaitable<void> read_messages(Self self, std::size_t member, net::StreamPointer stream,
                                         std::shared_ptr<bool> ended);
    static awaitable<void> read_all(Self self, std::size_t member, net::StreamPointer stream);
    void link_broke(std::size_t member, const net::StreamPointer& stream);
    void attach(std::size_t member, const net::StreamPointer& stream);

    net::Network& network_;
    Clock& clock_;
    const RoundVoteSettings settings_;
    const RoundPlan plan_;
    const Log log_;
    const std::size_t self_, leader_;

    VoteMachine machine_;
    Changes changed_;
    std::deque<Link> links_;                 // by member
    std::vector<Observation> observations_;  // by member, own included
    std::optional<TimePoint> trouble_since_;
    std::optional<TimePoint> suspected_since_;  // the leader
    std::optional<TimePoint> hopeless_since_;
    const TimePoint began_;
    std::optional<TimePoint> complete_since_;  // this member
    TimePoint last_tick_, last_act_, proposed_at_;
    int proposals_ = 0;
    bool may_be_averaged_ = false;
    bool closed_ = false;
    TaskGroup tasks_;
};

}  // namespace shoal::collective
