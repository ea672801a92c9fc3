// Where peers wait that want to join a round which this peer may lead: stream RUN/match, this side of it.
//
// A guest (one a peer, its newest) stays from its join until it leaves or gets a Begin. What it is told
// follows from what this peer does at the moment, and it is told again whenever that changes:
//
//   this peer ...                                     a guest for the same step hears
//   does not average, or not yet                      hold (not ready)
//   waits for a leader whom it has not heard yet      hold (ready)
//   leads                                             hold (ready), until begin()
//   has joined a better leader                        redirect, unless the guest has tried that one: hold
//   (ready) runs a round that the guest is a member of        begin: the leader's own has not reached the
//   guest runs the round of that attempt or a later one     busy, repeated is at a later attempt raise looks
//   for a group at an earlier attempt           hold (ready): this peer takes up the guest's attempt is past
//   that step                                 past
//
// So a join is never lost because it came early, and nobody has to ask again.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "shoal/base/async.h"
#include "shoal/collective/changes.h"
#include "shoal/collective/round_plan.h"
#include "shoal/net/network.h"

namespace shoal::collective {

/// What this peer does, as far as guests are concerned.
struct MatchStatus {
    enum class Kind { idle, matching, leading, joined, busy };
    Kind kind = Kind::idle;
    Step step{};                       ///< that it averages for (all but idle)
    unsigned attempt = 0;              ///< likewise
    std::string join;                  ///< matching, leading, joined: this peer's signed offer
    PeerId leader;                     ///< joined: whom
    Duration wait{0};                  ///< leading: how long it means to wait at most
    std::optional<Step> over_until;    ///< rounds of this step and before are over
    std::vector<std::string> members;  ///< busy: the signed joins of the round
    std::string begin;                 ///< busy: its Begin
};

class Lobby : public std::enable_shared_from_this<Lobby> {
  public:
    struct Guest {
        explicit Guest(const asio::any_io_executor& executor) : wake(executor) {}
        Join join;
        std::vector<PeerId> tried;
        net::StreamPointer stream;
        TimePoint joined_at;
        std::deque<Bytes> outbox;
        std::string last_reply;
        bool closing = false;  // nothing follows what is in the outbox
        Signal wake;
    };
    using GuestPointer = std::shared_ptr<Guest>;

    Lobby(asio::any_io_executor executor, Clock& clock, JoinLimits limits, Duration request_timeout,
          std::size_t maximum_guests);

    /// Serves one stream of a peer that joins; the handler of RUN/match.
    static awaitable<void> serve(std::shared_ptr<Lobby> self, net::StreamPointer stream);

    void set_status(MatchStatus status);
    const MatchStatus& status() const { return status_; }
    /// In order of PeerId.
    const std::vector<GuestPointer>& guests() const { return guests_; }
    /// Wakes when guests come or go.
    Changes& changed() { return changed_; }

    /// Whom the search for a group knows; the others are strangers (group_matching.h).
    void set_known(const std::set<PeerId>& peers) { known_ = peers; }
    bool knows(const PeerId& peer) const { return known_.contains(peer); }

    struct OfferedBegin {
        PeerId from;  ///< who passed it on
        std::string begin;
    };
    /// A Begin that came by another way (with a vote); whoever looks for a group takes it from here. It is
    /// kept only while this peer looks for one, and only if it names this peer with its present join and the
    /// sender as members: so only from those that know that join. One a sender, its newest. Its signatures
    /// are not checked here.
    void offer_begin(const PeerId& from, const proto::Begin& begin);
    std::vector<OfferedBegin> take_offered_begins();

    /// Hands a Begin to these guests, who leave with it.
    void begin(const std::vector<GuestPointer>& members, const std::string& begin);
    /// Tells a guest why it cannot take part.
    void refuse(const GuestPointer& guest, const std::string& reason);
    /// While busy: tells guests that the round still runs. Call it every now and then.
    void repeat_busy();
    /// Sends everybody away.
    void close();

  private:
    awaitable<GuestPointer> admit(net::StreamPointer stream);
    static awaitable<void> write_replies(std::shared_ptr<Lobby> self, GuestPointer guest);
    static awaitable<void> read_until_end(GuestPointer guest);
    void answer(Guest& guest);
    void reply(Guest& guest, const std::string& reply, bool last);
    void remove(const GuestPointer& guest);

    asio::any_io_executor executor_;
    Clock& clock_;
    const JoinLimits limits_;
    const Duration request_timeout_;
    const std::size_t maximum_guests_;
    MatchStatus status_;
    std::vector<GuestPointer> guests_;
    std::map<PeerId, std::string> offered_begins_;
    std::set<PeerId> known_;
    bool closed_ = false;
    Changes changed_;
};

}  // namespace shoal::collective
