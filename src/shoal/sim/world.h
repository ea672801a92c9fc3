// A simulation with everything that a peer needs: the way most tests and scenarios begin.
//
//     sim::World world(seed);
//     auto alice = world.add_peer();
//     auto bob = world.add_peer({.upload_rate = 1e6});
//     world.simulation().run(conversation(*alice.network, *bob.network));
//
// Declare the World before whatever uses it.
#pragma once

#include <memory>

#include "shoal/sim/simulated_directory.h"
#include "shoal/sim/simulated_network.h"
#include "shoal/sim/simulation.h"

namespace shoal::sim {

/// What the code of one peer is constructed with.
struct Peer {
    KeyPair key;
    PeerId id;
    VirtualClock* clock;  ///< lives as long as the world
    std::shared_ptr<net::Network> network;
    std::shared_ptr<dht::Directory> directory;
    Random random;
};

class World {
  public:
    explicit World(std::uint64_t seed, InternetSettings internet = {}, DirectorySettings directory = {})
        : simulation_(seed), internet_(simulation_, internet), directory_(internet_, directory) {}

    /// The n-th peer has the same key in every world.
    Peer add_peer(HostSettings host = {});
    /// A peer that crashed or left comes back under its old key.
    Peer restart(const KeyPair& key, HostSettings host = {});

    Simulation& simulation() { return simulation_; }
    SimulatedInternet& internet() { return internet_; }
    SimulatedDirectoryService& directory() { return directory_; }
    asio::any_io_executor executor() { return simulation_.executor(); }

  private:
    Simulation simulation_;
    SimulatedInternet internet_;
    SimulatedDirectoryService directory_;
    std::uint64_t peers_ = 0;
};

}  // namespace shoal::sim
