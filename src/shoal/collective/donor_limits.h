// What a donor spends on strangers who ask for its state: how often it copies the state, who has a place, and
// for how long. Keys are free, so no limit counts on a stranger's good will. All calls come from the protocol
// thread.
#pragma once

#include <cstddef>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <string>

#include "shoal/base/clock.h"
#include "shoal/base/identity.h"

namespace shoal::collective {

/// A copy may begin this long after the one before, on average, whoever asks ...
inline constexpr Duration kCopyEvery = std::chrono::seconds(3);
/// ... but so many may follow each other at once when none was made for long: newcomers come together.
inline constexpr int kCopiesAtOnce = 4;
/// To hash a copy takes about as long as to make it, so large states are given a fifth of the time at most.
inline constexpr double kCopyRest = 10;  ///< hashing times from copy to copy
/// A receiver that wants the step after the donor's own is told so after this long; one that wants a later
/// step, at once.
inline constexpr Duration kNextStep = std::chrono::seconds(2);

inline constexpr std::size_t kMaximumSessions = 64;
inline constexpr std::size_t kSessionsOfOnePeer = 2;  ///< it has come back, and the old one is not lost yet
inline constexpr std::size_t kMaximumRefusals = 64;   ///< under way; whoever else is refused is told nothing
inline constexpr Duration kLongestRefusal = std::chrono::seconds(5);
/// A session has the time that its state needs at this rate, and this much more.
inline constexpr double kSlowestReceiver = 8e3;  ///< bytes a second
inline constexpr Duration kSpareTime = std::chrono::seconds(60);
/// A receiver that has idled longer than this loses its place to one that has idled less.
inline constexpr Duration kFairIdling = std::chrono::seconds(10);
inline constexpr std::size_t kKnownIdlers = 1024;  ///< that have left

/// How long a session may last from its offer on, whatever it asks for.
Duration session_lifetime(std::size_t state_bytes);

/// Spaces the copies of the state.
class CopyBudget {
  public:
    bool allows(TimePoint now) const { return now >= next(); }
    /// When a copy may begin.
    TimePoint next() const;
    /// A copy begins; to be called only when it is allowed.
    void begin(TimePoint now);
    /// The copy has been hashed, which took so long.
    void hashed(Duration took, TimePoint now);

  private:
    TimePoint paid_;  ///< when all copies so far are paid for at the usual rate
    TimePoint rest_;  ///< before this, none begins
};

/// The places for sessions. A receiver idles while it has a place, less the time in which the new bytes that
/// it took come at kSlowestReceiver; a key that leaves pays off its idling second by second. When all places
/// are taken, who has idled most of all, and longer than kFairIdling, loses its place to a newcomer that has
/// idled less. So keys that hold places for nothing, or come back again and again, keep nobody else out.
class SessionPlaces {
  public:
    struct Place {
        PeerId receiver;
        std::function<void()> end;  ///< called when another takes the place
        Duration idled{0};          ///< until `counted`
        TimePoint counted;
    };
    using PlacePointer = std::shared_ptr<Place>;

    /// A place for this receiver, or nothing, and why not.
    /// @param end  ends the session of which the place is; may be called by any take()
    PlacePointer take(const PeerId& receiver, TimePoint now, std::function<void()> end, std::string& why_not);
    /// The receiver took so many bytes that it had not had in this session.
    static void earn(Place& place, std::size_t new_bytes, TimePoint now);
    /// How long its receiver has idled; less than nothing if it took more than it had to.
    static Duration idling(const Place& place, TimePoint now);
    /// Nothing happens if another has taken the place.
    void give_back(const PlacePointer& place, TimePoint now);
    std::size_t taken() const { return places_.size(); }

  private:
    Duration idling(const PeerId& receiver, TimePoint now) const;
    void remember(const Place& place, TimePoint now);

    std::list<PlacePointer> places_;
    std::map<PeerId, TimePoint> paid_off_;  ///< of those that have left: when their idling is forgotten
};

}  // namespace shoal::collective
