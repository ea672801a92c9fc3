// Real faults at a chosen moment of a step: how fault tests hit a running peer where it hurts (`shoal train
// --inject`).
#pragma once

#include <string>

#include "shoal/collective/phase.h"
#include "shoal/net/network.h"

namespace shoal::train {

enum class Fault {
    kill,  ///< SIGKILL to itself, as kill -9 does
    stop,  ///< SIGSTOP to itself: frozen until somebody sends SIGCONT
    cut,   ///< all connections drop at once
};

/// A fault that happens once, at the first beginning of `phase` at `step` or later.
struct Injection {
    Fault fault = Fault::kill;
    collective::Phase phase = collective::Phase::compute;
    Step step{};
};

/// "kill@reduce:12" is the fault, the phase and the step. Throws Error(invalid_argument) that lists what
/// there is.
Injection parse_injection(const std::string& text);

/// @param network  must outlive the probe.
collective::PhaseProbe make_probe(Injection injection, net::Network& network);

}  // namespace shoal::train
