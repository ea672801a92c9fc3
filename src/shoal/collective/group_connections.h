// Gives up connections to those that this peer met some steps ago, where the swarm averages in groups:
// thousands would add up.
#pragma once

#include <deque>
#include <functional>
#include <set>
#include <vector>

#include "shoal/net/network.h"

namespace shoal::collective {

class GroupConnections {
  public:
    GroupConnections(net::Network& network, std::size_t group_size)
        : network_(network), group_size_(group_size) {}

    /// A step with these is over. Those whom `needed` names are kept.
    void met(const std::vector<PeerId>& members, const std::function<bool(const PeerId&)>& needed);

  private:
    net::Network& network_;
    std::size_t group_size_;
    std::deque<std::set<PeerId>> met_;
};

}  // namespace shoal::collective
