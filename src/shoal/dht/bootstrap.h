// Tries the addresses that a peer was given to find others at, for ever, and remembers why one does not
// answer. Internal to dht/.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "shoal/base/async.h"
#include "shoal/base/log.h"
#include "shoal/dht/opendht_directory.h"
#include "shoal/dht/opendht_node.h"

namespace shoal::dht {

/// Thread: the one of the executor.
class Bootstrap : public std::enable_shared_from_this<Bootstrap> {
  public:
    Bootstrap(asio::any_io_executor executor, Clock& clock, std::shared_ptr<OpenDhtNode> node, Log log);

    /// Starts to try an address. One that answers is still asked every 30 s: should we lose everybody, or
    /// should it have restarted, it lets us in again.
    void add(net::Endpoint endpoint);
    std::vector<BootstrapStatus> status() const;
    void stop();

  private:
    static awaitable<void> keep_trying(std::weak_ptr<Bootstrap> weak, Clock& clock,
                                       std::shared_ptr<BootstrapStatus> status);
    awaitable<std::string> attempt(net::Endpoint endpoint);
    awaitable<bool> answers(asio::ip::udp::endpoint address);
    awaitable<std::vector<asio::ip::udp::endpoint>> resolve(net::Endpoint endpoint);
    void note_attempt(BootstrapStatus& status, const std::string& reason);

    asio::any_io_executor executor_;
    Clock& clock_;
    std::shared_ptr<OpenDhtNode> node_;
    Log log_;
    std::vector<std::shared_ptr<BootstrapStatus>> addresses_;
    TaskGroup tasks_;
};

}  // namespace shoal::dht
