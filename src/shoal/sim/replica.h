// A real peer process whose compute is sleep: node, transport, directory, rounds and state transfer are those
// of `shoal train`; the problem is the small convex one of the simulation, and the time of a micro-batch is
// waited for, not computed. So dozens of them share one machine, and one that dies leaves no processor time
// to the others.
#pragma once

#include <cstdint>

#include "shoal/base/log.h"
#include "shoal/run/definition.h"

namespace shoal::sim {

struct ReplicaSettings {
    double speed = 8;               ///< samples per second, at most: a micro-batch takes samples / speed
    std::int64_t micro_batch = 8;   ///< samples
    double jitter = 0.1;            ///< a micro-batch takes up to this share more or less, uniform
    std::int64_t parameters = 256;  ///< of the problem; the same for all peers of a run
    double rate = 0.02;             ///< learning rate; likewise
    std::uint64_t seed = 0;         ///< of the jitter; 0: from entropy
    Log log;
};

/// Takes part in the run until its last step, or until SIGINT or SIGTERM. What the run file says of model,
/// data and optimizer is only compared with the others'. Runs the protocol on the calling thread. Throws
/// Error for what the user can mend (file, port), and Error(corrupted) if the trainer used its compute in a
/// way that it must not.
void run_replica(const run::RunDefinition& definition, const ReplicaSettings& settings);

}  // namespace shoal::sim
