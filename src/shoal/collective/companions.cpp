#include "shoal/collective/companions.h"

#include <algorithm>

#include "shoal/collective/swarm_rules.h"

namespace shoal::collective {

namespace {

/// Auxiliary peers hold no state, so they are no witnesses of which half is the swarm.
std::vector<PeerId> trainers(const std::vector<Contributor>& members) {
    std::vector<PeerId> peers;
    for (const Contributor& member : members) {
        if (member.role != Role::auxiliary) peers.push_back(member.peer);
    }
    return peers;
}

}  // namespace

void Companions::decided(const std::vector<Contributor>& members) {
    std::vector<PeerId> peers = trainers(members);
    if (peers.empty()) return;
    groups_.clear();
    groups_.push_back(std::move(peers));
}

void Companions::undecided(const std::vector<Contributor>& members) {
    std::vector<PeerId> peers = trainers(members);
    if (peers.empty() || std::find(groups_.begin(), groups_.end(), peers) != groups_.end()) return;
    groups_.push_back(std::move(peers));
}

bool Companions::are_quorate(const std::function<bool(const PeerId&)>& present,
                             const std::function<bool(const PeerId&)>& has_left) const {
    for (std::vector<PeerId> group : groups_) {
        std::erase_if(group, has_left);
        if (!is_quorum(group, present)) return false;
    }
    return true;
}

}  // namespace shoal::collective
