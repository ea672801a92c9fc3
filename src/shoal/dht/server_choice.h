// Which connected peer a RemoteDirectory goes through. Internal to dht/.
#pragma once

#include <map>
#include <memory>
#include <optional>

#include "shoal/base/async.h"
#include "shoal/base/log.h"
#include "shoal/net/network.h"

namespace shoal::dht {

/// Thread: the one of the network.
class ServerChoice : public std::enable_shared_from_this<ServerChoice> {
  public:
    ServerChoice(std::shared_ptr<net::Network> network, Clock& clock, bool serves, Log log);
    void start();
    void stop();

    const std::optional<PeerId>& server() const { return server_; }
    /// That server did not do what it should: another one, for a while.
    void reject(const PeerId& server);
    /// Of server(), and of stop().
    Signal& changed() { return changed_; }
    bool stopped() const { return stopped_; }

  private:
    static awaitable<void> keep_choosing(std::weak_ptr<ServerChoice> weak, Clock& clock);
    awaitable<void> choose();
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
    TaskGroup tasks_;
    bool stopped_ = false;
};

}  // namespace shoal::dht
