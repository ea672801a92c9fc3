// Links of several connections (StripedPipe), and where an acceptor keeps those until all of a link are
// there.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "shoal/net/link.h"

namespace shoal::net {

/// Makes one link of all its lanes, which are of the same peer and process.
Link join_lanes(const asio::any_io_executor& executor, std::vector<Link> lanes);

/// Bounded, for whoever connects may leave a link incomplete: where the places are taken, the link that has
/// waited longest goes, of the same peer if it has all of its own.
class LaneTable {
  public:
    static constexpr std::size_t kIncompleteLinks = 64;
    static constexpr std::size_t kIncompleteLinksOfOnePeer = 4;

    /// Names a link while it is incomplete.
    using Ticket = std::uint64_t;

    struct Outcome {
        std::optional<std::vector<Link>> complete;  ///< all lanes in order, with the last of them
        std::optional<Ticket> begun;  ///< the first lane of a link: drop() it if it stays incomplete
    };

    /// Takes in a connection with lane.lanes > 1. Lanes that contradict each other (a number twice, another
    /// count) are dropped, with all of that link.
    Outcome add(Link lane);

    /// Closes what has come of a link. Nothing happens if it is complete.
    void drop(Ticket ticket);

    std::size_t incomplete() const { return waiting_.size(); }

  private:
    struct Waiting {
        PeerId peer;
        std::uint64_t instance = 0;
        LaneNumber number;
        std::vector<std::optional<Link>> lanes;
        std::size_t there = 0;
    };
    std::map<Ticket, Waiting>::iterator find(const Link& lane);
    void make_room(const PeerId& peer);

    std::map<Ticket, Waiting> waiting_;  // oldest first
    Ticket next_ = 0;
};

}  // namespace shoal::net
