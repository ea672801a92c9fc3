// What is left to say when a swarm has ended: who contributed what, how long joining took, whether all agree.
#pragma once

#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "shoal/lab/child_process.h"
#include "shoal/lab/peer_log.h"
#include "shoal/lab/result.h"
#include "shoal/lab/swarm.h"

namespace shoal::lab {

/// One peer process of the swarm.
struct SwarmMember {
    std::string name, role;
    double load = 1;
    std::vector<std::string> extra_arguments;
    std::unique_ptr<ChildProcess> process;
    std::unique_ptr<PeerLog> log;
    double spawned = 0;  ///< seconds since 1970
    bool killed = false;
};

struct FinishedSwarm {
    const SwarmOptions& options;
    const std::vector<SwarmMember>& members;  ///< the newcomer last
    const std::vector<Mark>& marks;
    const std::deque<std::string>& events;
    double seconds;
};

/// The log of the surviving peer that took most steps; null when there is none.
const PeerLog* most_advanced(const std::vector<SwarmMember>& members);

/// Seconds since 1970.
double wall_seconds();

/// Prints the summary, writes JSON and picture, and returns the exit code. Throws Error(system) if no step
/// was taken.
int summarise_swarm(const FinishedSwarm& swarm);

}  // namespace shoal::lab
