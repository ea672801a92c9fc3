// The data plane of a round: every contributor streams its vector to the owners of the shares and takes the
// results back over the same streams, chunk by chunk, all at once.
//
//   contributor                          owner of share o
//   RUN/reduce: hello, then its chunks -> adds chunk c in member order when all have sent it (ShareReducer)
//   <- result chunks, as encoded once     keeps at most a window of chunks until every contributor has taken
//   them
//
// Nothing is retried here, and a failure stops nothing: it is reported, and the vote decides. Until stop()
// the streams stay open, so that a member that waits is not taken for one that broke down.
//
// Thread: the protocol thread; adding and coding run there, too.
#pragma once

#include <functional>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "shoal/base/async.h"
#include "shoal/collective/line_pacer.h"
#include "shoal/collective/phase.h"
#include "shoal/collective/round_plan.h"
#include "shoal/collective/share_reducer.h"
#include "shoal/collective/stall_watch.h"
#include "shoal/net/network.h"

namespace shoal::collective {

/// What a member has to say of its part of the round.
struct AllReduceEvents {
    std::function<void()> completed;           ///< all results are here and the own share is reduced
    std::function<void(const Blame&)> failed;  ///< may come several times
    std::function<void(Phase)> phase = {};     ///< Phase::send and Phase::reduce begin; for fault tests
    /// Called every T/4 for each member that takes results from this one, and whose hello has not come: it is
    /// to be told that this peer lives.
    std::function<void(std::size_t)> unheard = {};
};

struct AllReduceSettings {
    std::string service;  ///< "RUN/reduce"
    Duration stall_timeout;
    /// Sends no more ahead than others take. False for who has yet to measure its line: that takes bursts.
    bool paced = false;
};

class AllReduce {
  public:
    /// Everything referred to outlives the object. Spans as in RoundRequest.
    AllReduce(net::Network& network, Clock& clock, AllReduceSettings settings, const RoundPlan& plan,
              std::span<const float> contribution, std::span<float> result, AllReduceEvents events);
    AllReduce(const AllReduce&) = delete;
    AllReduce& operator=(const AllReduce&) = delete;

    void start();
    /// Takes over the stream of a contributor whose hello has been read. Refuses (resets) what has no place
    /// in this round.
    void accept(std::size_t member, net::StreamPointer stream);
    /// An owner says that our hello has not reached it yet (AllReduceEvents::unheard): so its results are
    /// late for no fault of its own.
    void owner_is_unheard(std::size_t owner);
    /// Ends everything and waits until no task uses the spans any more. Must be awaited before the object
    /// goes.
    awaitable<void> stop(std::string reason);

    bool complete() const { return complete_; }
    /// This owner has sent a result: so it takes part in the round.
    bool has_result_of(std::size_t owner) const { return !fingerprints_[owner].empty(); }
    /// The digest of each share, in member order; 0 where this member holds no result.
    std::vector<Fingerprint> share_digests() const;
    /// So much time has passed: notes for whom this member waits now. Only where few are waited for is one of
    /// them the cause.
    void note_waiting(double seconds);
    /// By member: seconds that this member waited for it, as noted.
    const std::vector<double>& waited() const { return waited_; }
    std::uint64_t bytes_sent() const { return bytes_sent_; }
    std::uint64_t bytes_received() const { return bytes_received_; }

  private:
    // As a contributor, towards each owner.
    awaitable<void> exchange(std::size_t owner);
    awaitable<void> send_contribution(std::size_t owner, net::StreamPointer stream);
    std::size_t window(std::size_t owner) const;
    bool is_ahead(std::size_t owner, std::size_t index) const;
    awaitable<void> until_may_send(std::size_t owner, std::size_t index);
    awaitable<void> receive_results(std::size_t owner, net::StreamPointer stream);
    // As the owner, towards each contributor.
    awaitable<void> serve(std::size_t member, net::StreamPointer stream);
    awaitable<void> read_contribution(std::size_t member, net::StreamPointer stream);
    awaitable<void> write_results(std::size_t member, net::StreamPointer stream);
    awaitable<void> watch();
    void tell_unheard();

    void spawn(std::size_t member, awaitable<void> task);
    awaitable<void> guarded(std::size_t member, awaitable<void> task);
    void take_result(std::size_t owner, std::size_t index, ByteView encoded);
    void after_reducing(const std::optional<Blame>& blame);
    void result_written(std::size_t member);
    void fail(const Blame& blame);
    void check_complete();
    void share_waiting(const std::vector<std::size_t>& members, std::size_t of, double seconds);
    bool receives(std::size_t member) const { return member != plan_.self && plan_.contributes(member); }
    // Waits are numbered: contribution of member m, then result of owner m.
    std::size_t contribution_wait(std::size_t member) const { return member; }
    std::size_t result_wait(std::size_t owner) const { return plan_.members.size() + owner; }

    net::Network& network_;
    Clock& clock_;
    const AllReduceSettings settings_;
    const RoundPlan& plan_;
    const compress::VectorCodec& codec_;
    const std::span<const float> contribution_;
    const std::span<float> result_;
    const AllReduceEvents events_;
    const bool exact_;

    ShareReducer reducer_;
    StallWatch watch_;
    LinePacer pacer_;
    Signal room_;      // there may be room for more chunks
    Signal sendable_;  // there may be a chunk that may be sent
    Signal results_;   // there may be more results to write, or a sign of life is due
    std::set<std::size_t> streams_accepted_;
    std::set<net::StreamPointer> streams_;
    std::vector<double> sent_;                            // part of each share that is sent; 1: nothing left
    std::vector<std::size_t> written_;                    // results, by contributor
    std::vector<std::vector<Fingerprint>> fingerprints_;  // of received chunks, by owner
    std::vector<bool> blamed_;
    std::vector<double> waited_;
    bool complete_ = false;
    bool broken_ = false;  // the own share cannot be finished any more
    bool stopped_ = false;
    std::uint64_t bytes_sent_ = 0, bytes_received_ = 0;
    TaskGroup tasks_;  // last: ends first
};

}  // namespace shoal::collective
