// Dynamic quorum: who must be with us before the next round may begin.
//
// The members of the last decided round (averaged or failed) are our companions; the next round needs a
// quorum of them, less those who said goodbye. So of two halves of a partition at most one goes on, and the
// quorum follows the crowd as peers come and go one by one. A round whose outcome we did not learn ('cut
// off') may have been decided by its other members: then a quorum of theirs is needed as well. When no quorum
// is found for TrainingSettings::lost_quorum_timeout, the survivors go on without: from then on both halves
// of a partition may train apart, and whoever is fewer takes the others' state when they meet again
// (swarm_rules.h). Nothing is guaranteed against peers that lie about their members.
#pragma once

#include <functional>
#include <vector>

#include "shoal/collective/averager.h"

namespace shoal::collective {

class Companions {
  public:
    /// A round was decided, whatever the decision.
    void decided(const std::vector<Contributor>& members);
    /// A round in which we took part ended without us.
    void undecided(const std::vector<Contributor>& members);
    void clear() { groups_.clear(); }

    /// @param has_left  said goodbye: counts no longer
    bool are_quorate(const std::function<bool(const PeerId&)>& present,
                     const std::function<bool(const PeerId&)>& has_left) const;
    /// Members of the last decided round.
    std::vector<PeerId> last() const { return groups_.empty() ? std::vector<PeerId>() : groups_.front(); }

  private:
    std::vector<std::vector<PeerId>> groups_;  ///< a quorum of each is needed
};

}  // namespace shoal::collective
