// What is left to say when a swarm has ended: who contributed what, how long joining took, whether all agree.
#pragma once

#include <string>
#include <vector>

#include "shoal/lab/peer_process.h"
#include "shoal/lab/swarm.h"
#include "shoal/run/result.h"

namespace shoal::lab {

struct FinishedSwarm {
    const SwarmOptions& options;
    const std::vector<PeerProcess>& members;
    const std::vector<run::Mark>& marks;
    const std::vector<PeerEvent>& events;  ///< time: seconds since the start
    double seconds;
    bool interrupted;  ///< it was ended before its last step
};

/// The log of the surviving peer that took most steps; null when there is none.
const PeerLog* most_advanced(const std::vector<PeerProcess>& members);

/// Prints the summary, writes JSON and picture, and returns the exit code. Throws Error(system) if no step
/// was taken.
int summarise_swarm(const FinishedSwarm& swarm);

}  // namespace shoal::lab
