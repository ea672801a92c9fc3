// How long a receiver of state waits for its donors: the rules, without any input or output.
//
// How fast the lines are is not known, and a donor may be slow for reasons of its own: its uplink carries a
// round as well, or the pieces that we asked of others fill our line first. (A connection that has died or
// frozen is no concern of this: the network notices that within two seconds.) So what is judged is what can
// be seen here, the pieces that arrive:
//
//   overtaken   The others have delivered, since its last piece, more than all that can be under way from
//               everybody at once. Whatever lay before its piece on our line has arrived by now: it is slower
//               than the rest. What it owes may be asked of another, too.
//   given up    (A) The others have delivered twice as much as that, and it has been silent for
//               `stall_timeout`. Nothing is lost by that, however slow it may be: the others are far faster.
//               (B) Nobody has delivered anything for `stall_timeout` and the time that a piece of each
//               active donor takes on a line of kSlowestLine. Nobody fills our line then, and what a slower
//               one brings is not worth the wait. While others deliver, (B) never holds: they may be what it
//               waits for.
//   no offer    A donor that has not offered yet may stand behind a queue that we know nothing of, with an
//               answer of a few bytes; kOfferPatience. The others are not held up by it.
//
// Thread: any one.
#pragma once

#include <map>
#include <optional>

#include "shoal/base/clock.h"
#include "shoal/base/identity.h"

namespace shoal::collective {

/// Bytes per second. A line of 30 kB/s that a round shares with the transfer is still above it.
inline constexpr double kSlowestLine = 8 * 1024;
/// For the next sign of life of a donor that has not offered its state yet.
inline constexpr Duration kOfferPatience = std::chrono::seconds(10);

class DonorWatch {
  public:
    explicit DonorWatch(Duration stall_timeout) : stall_timeout_(stall_timeout) {}

    /// How many bytes may be asked of one donor at once; until this is known nobody is overtaken.
    void set_most_owed(std::size_t bytes) { most_owed_ = bytes; }
    /// The donor is one of those that deliver the state. Before that it owes no more than an offer.
    void activate(const PeerId& donor);
    /// Something was asked of it. Nothing changes if it owes something already.
    void asked(const PeerId& donor, TimePoint now);
    /// Something came from it; `bytes` of payload. It still owes something.
    void moved(const PeerId& donor, std::size_t bytes, TimePoint now);
    /// It owes nothing now.
    void rests(const PeerId& donor, TimePoint now);
    /// It is no donor any more.
    void remove(const PeerId& donor);

    /// Since when nothing has come from a donor that owes something; 0 if it owes nothing.
    Duration silence(const PeerId& donor, TimePoint now) const;
    bool is_overtaken(const PeerId& donor) const;
    bool is_to_be_given_up(const PeerId& donor, TimePoint now) const;
    /// (B): how long nobody may deliver anything.
    Duration longest_silence() const;
    /// Since when nobody who is active has delivered anything, though something is owed; 0 if nothing is.
    Duration quiet(TimePoint now) const;
    /// The time that this donor takes for `bytes`, by what it has delivered; nothing as long as that is none.
    std::optional<Duration> time_for(const PeerId& donor, std::size_t bytes, TimePoint now) const;
    /// Likewise of all donors on average.
    std::optional<Duration> usual_time_for(std::size_t bytes, TimePoint now) const;

  private:
    struct Donor {
        bool active = false, owes = false;
        TimePoint moved;                ///< asked, or something came from it
        TimePoint busy_since;           ///< while it owes
        Duration busy{0};               ///< how long it has owed something, all in all, until busy_since
        std::uint64_t bytes = 0;        ///< delivered
        std::uint64_t all_at_move = 0;  ///< delivered by everybody when it moved last
    };
    Duration busy(const Donor& donor, TimePoint now) const;
    std::size_t active() const;
    std::uint64_t most_under_way() const { return most_owed_ * active(); }

    Duration stall_timeout_;
    std::size_t most_owed_ = 0;
    std::uint64_t all_bytes_ = 0;  ///< delivered by everybody
    std::optional<TimePoint> last_piece_;
    std::map<PeerId, Donor> donors_;
};

}  // namespace shoal::collective
