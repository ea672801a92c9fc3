// One group of one step, as far as a peer has heard of it. What its members say under its key has one of
// three meanings, by the step that they name:
//
//   the step before     coming: it works for that, and will come
//   this step           here: it works for this one; how many samples it has, and whether it waits
//   a later one         gone: it has gone on, with the group's round or without it
//
// Whoever is gone counts for nothing here any more; if most are, there is nothing left to wait for.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "shoal/collective/progress_book.h"

namespace shoal::collective {

/// Whoever says that it has gone on by more steps than this is not heeded.
inline constexpr std::int64_t kFarthestGone = 16;

/// By so many steps a single other moves a peer that knows nobody else, whatever it says.
inline constexpr std::int64_t kStepsByOneVoice = 1;

/// Where the members of one group of a step keep their records in the directory.
std::string group_key(const std::string& run, Step step, std::uint32_t index);

struct StepGroup {
    StepGroup(Step of_step, std::uint32_t of_groups, const PeerId& self, const ProgressSettings& settings,
              std::shared_ptr<BrokenPromises> promises);

    Step step;
    std::uint32_t groups, index;  ///< of how many in that step, and which it is
    std::string key;              ///< in the directory
    ProgressBook book;            ///< who is here or coming
    std::map<PeerId, Step> gone;  ///< to which step
    std::shared_ptr<void> watching;
    TimePoint begun;         ///< when this peer began to listen to it
    bool announced = false;  ///< this peer has said something under the key

    bool has_place_for(const PeerId& peer) const;
    /// Takes in what a peer has said under the key. Returns true if it changed what is known.
    bool take(ProgressRecord words, Duration alive_for, TimePoint now);

    /// The step to which most of those that are known have gone on; this one if they have not.
    /// @param believes_one  enough of a single other peer, if it is all that is known; it moves
    /// nobody by more than kStepsByOneVoice
    Step gone_to(bool believes_one) const;
    /// True if more than half of those that are known work for this step, or are past it; all, if they are
    /// fewer than three.
    bool is_at_work(bool believes_one) const;
    /// Others that train, here or coming.
    std::vector<PeerId> others() const;
    /// Those of them that are here, or will be while anybody waits.
    std::size_t waited_for() const;
};

}  // namespace shoal::collective
