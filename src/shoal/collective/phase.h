// The phases of a training step, and a probe that is told of them: how fault tests hit a peer at a chosen
// moment.
#pragma once

#include <functional>
#include <string_view>

#include "shoal/base/units.h"

namespace shoal::collective {

enum class Phase {
    compute,      ///< a micro-batch begins
    match,        ///< this peer is ready and looks for its group
    send,         ///< the first chunk of its contribution has been handed to the network
    reduce,       ///< it has added the first chunk for others
    vote,         ///< it has all results, or has seen a failure, and votes
    share_state,  ///< it sends the first chunk of a state to a newcomer
};

/// "compute", "match", ...
std::string_view to_string(Phase phase);

/// Called on the protocol thread at the beginning of each phase. Empty in normal use.
using PhaseProbe = std::function<void(Phase, Step)>;

}  // namespace shoal::collective
