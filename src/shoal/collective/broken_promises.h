// Who was waited for, and did not come. Each broken promise halves the time that a peer is granted the next
// time; one is forgotten whenever the peer comes, and every now and then.
#pragma once

#include <cstddef>
#include <map>

#include "shoal/base/clock.h"
#include "shoal/base/identity.h"

namespace shoal::collective {

class BrokenPromises {
  public:
    /// After so many in a row a peer is not waited for at all.
    static constexpr unsigned kMost = 6;
    /// Of so many peers at most; those whose last broken promise is the longest ago are forgotten first.
    static constexpr std::size_t kMaximumPeers = 8192;

    /// How many of this peer count now, at most kMost.
    unsigned count(const PeerId& peer, TimePoint now) const;
    /// The part of the time that it asks for which a peer is granted: 1, and half as much for each.
    double trust(const PeerId& peer, TimePoint now) const;

    /// It was waited for and has not come, or has come.
    void broke(const PeerId& peer, TimePoint now);
    void kept(const PeerId& peer, TimePoint now);
    /// Forgets what counts no longer.
    void sweep(TimePoint now);
    std::size_t peers() const { return all_.size(); }

  private:
    struct Count {
        unsigned count = 0;
        TimePoint last;
    };
    void make_room(TimePoint now);

    std::map<PeerId, Count> all_;
};

}  // namespace shoal::collective
