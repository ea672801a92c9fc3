// What the rounds of a scenario say: steps, who computed and sent how much, and whose line held a round up.
#pragma once

#include <vector>

#include "shoal/sim/scenario_run.h"

namespace shoal::sim {

struct SummarisedPeer {
    NodePointer node;
    std::size_t group;   ///< index in Scenario::peers
    double seconds = 0;  ///< that it ran
    Traffic traffic;     ///< of its machine, since its start
};

/// Fills in steps, groups, failed_rounds, samples and bottlenecks.
/// @param payload_scale  bytes that a byte of payload stands for.
void summarise_rounds(const Scenario& scenario, const std::vector<SummarisedPeer>& peers,
                      double payload_scale, ScenarioResult& result);

}  // namespace shoal::sim
