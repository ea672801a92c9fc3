// Meets the swarm: dials the bootstrap addresses, for ever, and knows why one does not answer.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "shoal/base/async.h"
#include "shoal/base/log.h"
#include "shoal/base/random.h"
#include "shoal/net/network.h"

namespace shoal::run {

/// One bootstrap address, now.
struct BootstrapAddress {
    net::Endpoint endpoint;
    enum class State {
        dialling,   ///< never answered nor failed so far
        connected,  ///< `peer` answered and the connection stands
        failed,     ///< see `cause`; it will be dialled again
        ourselves,  ///< this very peer listens there
    } state = State::dialling;
    PeerId peer;
    std::string cause;
    std::string setting;  ///< "the run's ... differs ..." if `failed` because of it
};

/// Thread: the network's. Dials every address at once, again at once when a connection that stood is lost,
/// and with growing pauses (0.25 s to 15 s, spread by a third so that a crowd does not dial in step) while it
/// fails.
class Bootstrap {
  public:
    Bootstrap(net::Network& network, Clock& clock, Random random, std::vector<net::Endpoint> endpoints,
              Log log);
    ~Bootstrap();

    /// Starts dialling. Ends when this object is destroyed; join with stop().
    void start();
    awaitable<void> stop();

    std::vector<BootstrapAddress> addresses() const;

    /// True if there is nobody to wait for: no addresses, or all are this peer itself; or one is connected.
    bool met() const;
    /// Waits until met(). Throws Error(bad_input) if another process at an address has this peer's key, and,
    /// naming the setting, if every address that answers refuses this peer because a setting differs.
    awaitable<void> until_met();
    /// Waits until met(), or until every address has failed at least once.
    awaitable<void> until_tried();

    /// Until something about any address, or any connection, changes.
    awaitable<void> until_change();

    /// "host:port: cause; host:port: cause" of those that failed.
    std::string causes() const;

  private:
    struct State;
    static awaitable<void> keep_dialling(std::shared_ptr<State> state, std::size_t index);
    std::shared_ptr<State> state_;
    TaskGroup tasks_;
};

}  // namespace shoal::run
