// Which connected peer a RemoteDirectory goes through. Internal to dht/.
#pragma once

#include <map>
#include <memory>
#include <optional>

#include "shoal/base/async.h"
#include "shoal/base/log.h"
#include "shoal/net/network.h"

namespace shoal::dht {

/// So long each peer has to say whether it lends its directory.
inline constexpr Duration kAnswerTime = std::chrono::seconds(2);
/// So often the server is asked whether it still does, and, where none is good, for a better one.
inline constexpr Duration kLookAgain = std::chrono::seconds(5);
inline constexpr Duration kRejection = std::chrono::seconds(10);
inline constexpr Duration kLongestRejection = std::chrono::seconds(160);
/// A server that no longer answers is left within this time for one that does: noticed, and another found.
inline constexpr Duration kServerChange = kLookAgain + 2 * kAnswerTime;

/// Thread: the one of the network.
class ServerChoice : public std::enable_shared_from_this<ServerChoice> {
  public:
    ServerChoice(std::shared_ptr<net::Network> network, Clock& clock, bool serves, Log log);
    void start();
    void stop();

    const std::optional<PeerId>& server() const { return server_; }
    /// That server did not do what it should: another one, for kRejection; each time twice as long, up to
    /// kLongestRejection. Of one that is rejected already nothing changes.
    void reject(const PeerId& server);
    /// A peer that could take this one's place, to find out whose fault a refusal is; nothing when no other
    /// one that is connected lends a directory. Does not change server(). Takes at most kAnswerTime.
    awaitable<std::optional<PeerId>> another(PeerId than);
    /// Of server(), and of stop().
    Signal& changed() { return changed_; }
    bool stopped() const { return stopped_; }

  private:
    static awaitable<void> keep_choosing(std::weak_ptr<ServerChoice> weak, Clock& clock);
    struct Candidate {
        PeerId peer;
        std::uint32_t neighbours = 0;
    };
    struct Poll;
    awaitable<void> choose();
    /// Looks whether the server still answers. One that does not is rejected.
    awaitable<void> check_server();
    awaitable<std::optional<Candidate>> best_besides(std::optional<PeerId> excluded);
    static awaitable<void> ask_candidate(std::shared_ptr<ServerChoice> self, std::shared_ptr<Poll> poll,
                                         std::size_t index);
    awaitable<std::optional<std::uint32_t>> ask_for_neighbours(PeerId peer);
    void set_server(std::optional<PeerId> server);
    bool is_eligible(const PeerId& peer) const;
    void look_again();

    std::shared_ptr<net::Network> network_;
    Clock& clock_;
    const bool serves_;
    Log log_;
    Signal changed_;
    std::shared_ptr<Signal> look_again_;
    std::uint64_t reasons_ = 0;  // to look again, counted: a Signal keeps no memory
    std::shared_ptr<void> observing_;
    std::optional<PeerId> server_;
    std::uint32_t neighbours_ = 0;          // of the server
    std::map<PeerId, TimePoint> rejected_;  // until when
    std::map<PeerId, Duration> faults_;     // of servers: how long the last rejection was
    TimePoint check_at_;                    // the server
    TaskGroup tasks_;
    bool stopped_ = false;
};

}  // namespace shoal::dht
