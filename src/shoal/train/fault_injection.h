// Real faults at a chosen moment of a step: how fault tests hit a running peer where it hurts (`shoal train
// --inject`).
#pragma once

#include <filesystem>
#include <string>

#include "shoal/collective/phase.h"
#include "shoal/net/network.h"

namespace shoal::train {

enum class Fault {
    kill,  ///< SIGKILL to itself, as kill -9 does
    stop,  ///< SIGSTOP to itself: frozen until somebody sends SIGCONT
    cut,   ///< all connections drop at once
};

/// An order for a fault, at the first beginning of `phase` at `step` or later.
struct Injection {
    Fault fault = Fault::kill;
    collective::Phase phase = collective::Phase::compute;
    Step step{};
};

/// "kill@reduce:12" is the fault, the phase and the step. Throws Error(invalid_argument) that lists what
/// there is.
Injection parse_injection(const std::string& text);

/// A probe that looks for an order in `file` at the beginning of each phase, removes the file when the
/// order's moment has come, and obeys. The file need not exist yet; it must be put there whole (by rename). A
/// text that is no order is ignored.
/// @param network  must outlive the probe.
collective::PhaseProbe make_probe(std::filesystem::path file, net::Network& network);

}  // namespace shoal::train
