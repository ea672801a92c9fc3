// What the members of a round hold against each other's claims of bandwidth.
//
// The shares of a round follow from what each member claims of its own line, and a claim can be wrong: by a
// mistake, or by a lie. A member that claims too much gets a share that it cannot bear in time, and everybody
// waits for it. That is seen by everybody, and so it can be judged without believing anybody in particular:
//   - Each member notes for whom it waits. After a round that took much longer than its split promised, it
//     objects to the claim of the member that it waited for most, and names what that member really carried:
//     its load / the time of the round. An objection allows a little more with each round that does well,
//     until it is above what it was made against.
//   - Each join carries the sender's objections, signed. A claim is cut to the median of what the other
//   members
//     allow, where no objection allows everything. So objections count only if more than half of the others
//     make them.
//   - Before anything is known of it, no claim counts for more than kClaimOverMedian times the median claim.
//
// What a liar can do. Claim too much: it gets more work, not less; the rounds until the others object are
// slower (one, in the simulated group of eight of measured_split_test.cpp), and afterwards its cut claim
// moves between 1.1 and about 1.4 times the truth. It could slow the others as much by sending slowly. It can
// come back under another PeerId, and be a newcomer again, for the price of a start. Claim too little: it
// gets a smaller share, or none; that is the one gain there is, and nobody can tell it from a slow line.
// Object to others without reason: nothing happens unless more than half of the others do the same. In a
// group of two there is no majority to ask, and no share to win either: in that case the split does not
// matter (each sends and receives one vector).
//
// Thread: the protocol thread; allowed_lines() any.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "shoal/collective/work_split.h"

namespace shoal::collective {

/// Of the member with this member_number (lineage.h): what it can carry, bytes per second.
struct Objection {
    std::uint64_t member = 0;
    double upload = 0, download = 0;
};

/// A join carries at most so many.
inline constexpr std::size_t kMaximumObjections = 16;
inline constexpr double kClaimOverMedian = 10;

/// The lines that a round reckons with: claims, with unknown ones filled in and all of them cut as above.
/// @param claims      by member, unknown: 0
/// @param numbers     member_number, by member
/// @param objections  of each member, in any order
std::vector<SplitMember> allowed_lines(std::span<const SplitMember> claims,
                                       std::span<const std::uint64_t> numbers,
                                       std::span<const std::vector<Objection>> objections);

/// This member's own objections.
class ObjectionBook {
  public:
    /// Rounds shorter than this tell nothing of lines.
    static constexpr double kShortRound = 0.5;  // seconds
    /// A round that took so many times what its split promised is slow.
    static constexpr double kSlow = 1.3;
    /// Of a slow round, the part that must have been spent waiting for one member.
    static constexpr double kWaited = 0.15;
    /// What an objection allows beyond what was seen, and from one round to the next.
    static constexpr double kMargin = 1.1, kRelief = 1.25;

    /// What this member saw of another one in a round.
    struct Seen {
        std::uint64_t member = 0;
        double upload_used = 0, download_used = 0;  ///< bytes per second that the round reckoned with
        double uploaded = 0, downloaded = 0;        ///< bytes of its load
        double waited = 0;                          ///< seconds that this member waited for it
    };
    /// A round has been averaged. @param promised  seconds by its split; 0: unknown
    void round_ended(std::span<const Seen> others, double seconds, double promised);

    /// The strictest first, at most kMaximumObjections.
    std::vector<Objection> objections() const;

  private:
    struct Entry {
        Objection allowed;
        double upload_used = 0, download_used = 0;  // what it was made against
    };
    void relieve(std::optional<std::uint64_t> except);
    void object(const Seen& seen, double seconds);
    std::vector<Entry> entries_;
};

}  // namespace shoal::collective
