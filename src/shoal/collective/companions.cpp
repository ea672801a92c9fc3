#include "shoal/collective/companions.h"

#include <algorithm>

#include "shoal/collective/swarm_rules.h"

namespace shoal::collective {

void Companions::averaged(const Verdict& verdict) {
    if (!one_history_) return;
    Lineage next;
    next.round = verdict.round;
    for (const Contributor& member : verdict.contributors) {
        // Auxiliary peers hold no state, so they are no witnesses of which half is the swarm.
        if (member.role != Role::auxiliary) next.members.push_back(member.peer);
    }
    lineage_ = std::move(next);
}

void Companions::begin_anew() {
    lineage_ = Lineage();
}

void Companions::arrive() {
    lineage_ = Lineage();
    lineage_.newcomer = one_history_;
}

Lineage Companions::lineage(const std::function<bool(const PeerId&)>& has_left) const {
    Lineage now = lineage_;
    std::erase_if(now.members, has_left);
    return now;
}

bool Companions::are_quorate(const std::function<bool(const PeerId&)>& present,
                             const std::function<bool(const PeerId&)>& has_left) const {
    return is_quorum(lineage(has_left).members, present);
}

}  // namespace shoal::collective
