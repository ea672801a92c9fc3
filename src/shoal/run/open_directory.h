// The directory of one node: opened on the network's port, told where this peer is reached, lent to others.
#pragma once

#include <memory>

#include "shoal/base/log.h"
#include "shoal/dht/directory.h"
#include "shoal/net/network.h"
#include "shoal/run/definition.h"

namespace shoal::run {

class DirectoryOwner {
  public:
    /// Opens the UDP port (that of the network's TCP port; any free one in client mode), unless [network]
    /// directory = "through-peers", and installs the network's address resolver. Throws Error(system) naming
    /// the port when it is taken.
    /// @param observer  does not say where it is, and lends the directory to nobody.
    DirectoryOwner(std::shared_ptr<net::Network> network, Clock& clock, const KeyPair& key,
                   const RunDefinition& definition, bool observer, Log log);
    ~DirectoryOwner();

    dht::Directory& get();

    /// Joins the others, says where this peer is reached, and serves those without UDP.
    awaitable<void> start();
    awaitable<void> stop();

  private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace shoal::run
