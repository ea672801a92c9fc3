// Pushes our newest progress to other peers: one stream of ours to each, opened when the peer becomes known
// and again whenever it breaks. A slow reader gets the newest words only, never a queue of old ones.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "shoal/base/async.h"
#include "shoal/base/log.h"
#include "shoal/net/network.h"

namespace shoal::collective {

class ProgressLinks : public std::enable_shared_from_this<ProgressLinks> {
  public:
    ProgressLinks(net::Network& network, Clock& clock, std::string service, Log log);

    /// Begins to talk to everybody who is, or gets, connected.
    void start();
    /// Connects to a peer, unless there are many links already: it pays to know of a full batch one round
    /// trip after it, but not to hold thousands of connections for that.
    void want(const PeerId& peer);
    void no_longer_want(const PeerId& peer);
    /// Replaces what is said, and says it.
    void say(Bytes words);
    /// Says the same once more: a sign of life.
    void repeat();
    /// The last words, to all who are linked now; returns when they are on their way, or at the deadline.
    awaitable<void> say_goodbye(Bytes words, TimePoint deadline);
    /// Ends all at once.
    void cancel();

  private:
    struct Link {
        bool wanted = false;
        std::uint64_t connection = 0;  ///< counts the comings and goings of connections to this peer
    };
    static constexpr std::size_t kMaximumWanted = 64;

    void begin(const PeerId& peer);
    void on_connection(const PeerId& peer, bool connected);
    awaitable<void> keep(std::shared_ptr<ProgressLinks> self, PeerId peer);
    awaitable<bool> talk(PeerId peer);
    awaitable<void> until_connection_changes(PeerId peer, std::uint64_t connection);
    awaitable<void> until_all_ended();

    net::Network& network_;
    Clock& clock_;
    std::string service_;
    Log log_;
    std::map<PeerId, Link> links_;  ///< exactly the peers that a keep() runs for
    Bytes words_;
    std::uint64_t version_ = 0;  ///< of words_; 0: nothing said yet
    bool goodbye_ = false, ended_ = false;
    Signal changed_;
    std::shared_ptr<void> observing_;
    TaskGroup tasks_;
};

}  // namespace shoal::collective
