// The rounds that an averager takes part in or remembers, and the streams of other members that find them.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <vector>

#include "shoal/collective/all_reduce.h"
#include "shoal/collective/changes.h"
#include "shoal/collective/lobby.h"
#include "shoal/collective/round_vote.h"

namespace shoal::collective {

/// One round at this member. The data plane exists only while average() runs.
struct Round {
    std::shared_ptr<RoundVote> vote;
    std::unique_ptr<AllReduce> reduce;
    std::vector<bool> spoke;                 ///< members that have named this round to us
    bool complete = false;                   ///< all results are here
    std::vector<Fingerprint> share_digests;  ///< then: of each share
    std::vector<float> result;               ///< then, once average() has left the round in doubt
};
using RoundPointer = std::shared_ptr<Round>;

/// Streams that may wait for their first message, or for their round to begin here: of all strangers (who are
/// neither members of a round here nor known to the search for a group), and of one sender (an honest member
/// has two a round, and opens one again when it was refused).
inline constexpr std::size_t kMaximumWaitingStreams = 1024;
inline constexpr std::size_t kMaximumWaitingStreamsOfOne = 16;

/// What the handlers of the network share with the averager. It outlives the averager as long as one of them
/// runs. Thread: the protocol thread.
class RoundBook : public std::enable_shared_from_this<RoundBook> {
  public:
    /// @param patience  for a stream to name its round, and for that round to begin here
    RoundBook(const asio::any_io_executor& executor, Clock& clock, Duration patience,
              std::shared_ptr<Lobby> lobby)
        : clock_(clock), patience_(patience), lobby_(std::move(lobby)), changed_(executor) {}

    /// Remembers a round, and forgets the oldest if there are too many.
    void add(RoundPointer round);
    void close();

    /// Serves RUN/reduce: finds the round that the first message names and hands the stream over.
    static awaitable<void> serve_reduce(std::shared_ptr<RoundBook> self, net::StreamPointer stream);
    /// Serves RUN/vote, likewise.
    static awaitable<void> serve_vote(std::shared_ptr<RoundBook> self, net::StreamPointer stream);

  private:
    /// A stream's place among those that wait, while it lives.
    class Place {
      public:
        /// Throws Error(refused) if this sender, or all strangers together, have too many.
        Place(std::shared_ptr<RoundBook> book, const PeerId& sender);
        ~Place();
        Place(const Place&) = delete;
        Place& operator=(const Place&) = delete;

      private:
        std::shared_ptr<RoundBook> book_;
        PeerId sender_;
        bool is_stranger_;
    };
    bool is_stranger(const PeerId& peer) const;
    static awaitable<net::Message> first_message(std::shared_ptr<RoundBook> self, net::StreamPointer stream);
    static awaitable<RoundPointer> find(std::shared_ptr<RoundBook> self, RoundId id);
    RoundPointer known(const RoundId& id) const;

    Clock& clock_;
    const Duration patience_;
    const std::shared_ptr<Lobby> lobby_;
    Changes changed_;
    std::deque<RoundPointer> rounds_;
    std::size_t waiting_strangers_ = 0;
    std::map<PeerId, std::size_t> waiting_of_;  // each sender
    bool closed_ = false;
};

}  // namespace shoal::collective
