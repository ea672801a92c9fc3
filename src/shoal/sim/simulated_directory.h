// The directory in simulation: one store for all, with the delays, losses and partitions that a real one
// would show to each peer.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "shoal/base/random.h"
#include "shoal/dht/directory.h"
#include "shoal/sim/simulated_network.h"

namespace shoal::sim {

struct DirectorySettings {
    Duration minimum_delay = std::chrono::milliseconds(1);  ///< of each operation and each push, uniform
    Duration maximum_delay = std::chrono::milliseconds(5);
    double push_loss = 0;                             ///< this share of the pushes comes only ...
    Duration repair_delay = std::chrono::seconds(5);  ///< ... this much later
    double read_loss = 0;                             ///< this share of the records is missing from a read()
};

/// Records are not signed here, only owned: the simulated directory does not lie. A peer that is frozen or
/// apart gets what it missed when that ends; what it stored before a partition stays visible to all.
/// Thread: the one of the simulation.
class SimulatedDirectoryService {
  public:
    explicit SimulatedDirectoryService(SimulatedInternet& internet, DirectorySettings settings = {});
    ~SimulatedDirectoryService();
    SimulatedDirectoryService(const SimulatedDirectoryService&) = delete;
    SimulatedDirectoryService& operator=(const SimulatedDirectoryService&) = delete;

    /// The directory as one peer of the Internet sees it.
    std::shared_ptr<dht::Directory> join(const PeerId& owner);

    /// Stores a record as it stands, for a peer that lies about its sequence or expiry.
    void inject(dht::Record record);

    /// Implementation, shared with what join() has handed out.
    struct State;

  private:
    std::shared_ptr<State> state_;
};

}  // namespace shoal::sim
