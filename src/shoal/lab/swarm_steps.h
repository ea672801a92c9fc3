// The steps of a whole swarm, from the logs of its peers.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "shoal/lab/peer_log.h"

namespace shoal::lab {

/// Each step of a swarm as the peer wrote it that took it first.
using SwarmSteps = std::map<std::int64_t, StepLine>;

SwarmSteps steps_of(const std::vector<const PeerLog*>& logs);

/// Steps at which two peers logged different parameters.
std::size_t disagreements(const std::vector<const PeerLog*>& logs);

/// What was stepped between two moments.
struct Stretch {
    double seconds = 0, samples = 0, steps = 0;
    double samples_per_second() const { return seconds > 0 ? samples / seconds : 0; }
    double steps_per_second() const { return seconds > 0 ? steps / seconds : 0; }
    double samples_per_step() const { return steps > 0 ? samples / steps : 0; }
};

/// All of the time from `from` to `to`, whether steps were taken or not: of a step that began before or ended
/// after, that part counts which its time within is of its whole. What no step follows counts nothing,
/// so ask when a step after `to` is known.
Stretch stretch_within(const SwarmSteps& steps, double from, double to);

}  // namespace shoal::lab
