#include "shoal/collective/group_connections.h"

#include <algorithm>
#include <utility>

namespace shoal::collective {

namespace {

constexpr std::size_t kStepsConnected = 3;       // connections to members of older groups are given up,
constexpr std::size_t kConnectionsOfGroups = 4;  // ... if there are as many groups' worth of them

}  // namespace

void GroupConnections::met(const std::vector<PeerId>& members,
                           const std::function<bool(const PeerId&)>& needed) {
    met_.emplace_back(members.begin(), members.end());
    if (met_.size() <= kStepsConnected) return;
    const std::set<PeerId> old = std::move(met_.front());
    met_.pop_front();
    if (network_.connections().size() <= kConnectionsOfGroups * group_size_) return;
    for (const PeerId& peer : old) {
        const bool is_met = std::any_of(met_.begin(), met_.end(),
                                        [&peer](const auto& group) { return group.contains(peer); });
        if (!is_met && !needed(peer) && network_.is_connected(peer))
            network_.disconnect(peer, "we are in other groups now");
    }
}

}  // namespace shoal::collective
