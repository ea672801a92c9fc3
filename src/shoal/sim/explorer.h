// The fault explorer: a small swarm of all kinds of peers under random faults, all from one seed, with the
// invariants looked at after each event. A seed that fails is a test to keep.
//
// What happens: peers crash, freeze and thaw, leave, join, come back; connections are cut; the network splits
// and heals; lines become slow and fast again; wall clocks jump. Many of these happen in the middle of a
// message of the peer concerned. After `fault_time` all faults end, and everybody who is left has to take
// three more steps together, to the same state, within `recovery`.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "shoal/base/clock.h"

namespace shoal::sim {

struct ExplorerSettings {
    /// How long faults happen. Less than lost_quorum_timeout, so that nobody goes on without a quorum because
    /// of a partition alone.
    Duration fault_time = std::chrono::seconds(12);
    Duration lost_quorum_timeout = std::chrono::seconds(20);
    Duration recovery = std::chrono::seconds(180);
    std::size_t fewest_running = 2;  ///< full peers that no fault stops
    std::size_t most_running = 12;   ///< nobody joins beyond these
};

/// What one seed has shown.
struct Exploration {
    std::uint64_t seed = 0;
    std::vector<std::string> violations;  ///< empty: everything held
    std::string log;                      ///< every event, fault, round and step; equal for equal seeds
    std::map<std::string, int> faults;    ///< by kind
    std::size_t peers = 0;                ///< that took part at any time
    std::int64_t steps = 0;               ///< of the furthest peer
    std::uint64_t rounds_averaged = 0, rounds_failed = 0;
    std::uint64_t comparisons = 0;     ///< of results and verdicts between two peers
    bool one_history_checked = false;  ///< false: the swarm may have had two, so "same bits" was not asked
    double virtual_seconds = 0;
};

/// Runs one seed, on this thread. Never throws for what the swarm does: that is a violation.
Exploration explore(std::uint64_t seed, const ExplorerSettings& settings = {});

}  // namespace shoal::sim
