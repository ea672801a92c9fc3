// `shoal lab volunteers`: forty peers that come and go beside one fast machine that does the same steps, and
// what `shoal report` tells of both. DeDLOC, notes 5.4 (sahajBERT: 30 volunteers and 10 peers of the
// organisers).
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "shoal/run/result.h"

namespace shoal::lab {

struct VolunteersOptions {
    run::ResultOptions result;
    std::filesystem::path folder = "shoal-volunteers";  ///< of everything that the peers write
    int volunteers = 30;
    int organisers = 10;  ///< peers that are there all of the time
    std::int64_t steps = 40;
    double step_seconds = 10;  ///< that a batch takes when half of the volunteers are there
    bool clients = false;      ///< volunteers accept no connection, as behind a router
    double fast = 8;           ///< speed of the one fast machine: so many volunteers of the mean speed
    std::int64_t parameters = 16'384;
    /// As for `shoal report`. Guesses, in dollars: a home machine's electricity, a rented GPU as fast as the
    /// mean volunteer, one that is eight times as fast.
    std::vector<std::string> prices = {"volunteer-*=0.05", "organiser-*=0.35", "fast=2.50"};
    double traffic_price = 0.09;
    std::uint64_t seed = 1;  ///< of the visits
};

/// A shorter run of the same kind, with fewer peers.
void make_quick(VolunteersOptions& options);

/// Runs both at the same time, each peer a process in a network namespace of its own: whole peers, but for
/// their compute, which sleeps (sim/replica.h). Volunteers come and go, with a goodbye or by kill -9; those
/// that come again bring their key. They reach the directory through the organisers' peers. Then prints the
/// report of both from the records that they left. Returns the exit code.
int run_volunteers(const VolunteersOptions& options);

}  // namespace shoal::lab
