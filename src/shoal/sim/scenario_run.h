// Runs a scenario in virtual time and says what came of it.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "shoal/sim/scenario.h"

namespace shoal::sim {

/// A global step, as the swarm took it.
struct StepSummary {
    std::int64_t step = 0;
    double at = 0;                ///< seconds of virtual time, when the first peer had taken it
    double seconds = 0;           ///< since the step before
    double loss = 0;              ///< weighted by samples
    double samples = 0;           ///< behind the step
    std::size_t members = 0;      ///< of its round
    std::size_t rounds = 1;       ///< that were averaged: one, or one in each group
    unsigned attempts = 1;        ///< rounds that it took
    std::size_t mixed_peers = 0;  ///< that replaced their parameters by their group's mean
    double variance_before = 0, variance_after = 0;  ///< of the parameters among these
    std::size_t counted_peers = 0;                   ///< whose parameters counted in such a mean
    double counted_variance = 0;                     ///< among these, before
    double match_seconds = 0, reduce_seconds = 0, vote_seconds = 0;  ///< medians over the members
};

/// What a group of peers did, all its peers together.
struct GroupSummary {
    std::string name;
    std::int64_t peers = 0;                            ///< that ran at any time
    double peer_seconds = 0;                           ///< time that they ran
    double samples_computed = 0, samples_counted = 0;  ///< counted: stand behind a step
    double bytes_sent = 0, bytes_received = 0;
    double round_seconds = 0;                   ///< spent in the reduce phase of averaged rounds
    double upload_busy = 0, download_busy = 0;  ///< of that, with the line full
    std::int64_t bottleneck_upload = 0, bottleneck_download = 0;  ///< rounds that one of them held up
};

struct ScenarioResult {
    std::string scenario;
    std::uint64_t seed = 0;
    double virtual_seconds = 0;
    double training_seconds = 0;  ///< of that, until the last step was taken or the time was over; then
                                  ///< late peers come to their end
    std::vector<StepSummary> steps;
    std::int64_t rounds = 0;  ///< averaged ones
    std::vector<GroupSummary> groups;
    std::vector<std::pair<double, std::size_t>> running;  ///< seconds, peers that ran from then on
    std::map<std::string, std::int64_t> failed_rounds;    ///< by cause; once a round
    std::map<std::string, std::int64_t> faults;
    double samples_computed = 0, samples_counted = 0;
    std::int64_t rounds_without_bottleneck =
        0;                                ///< no line was busy half of the time: latency, or the protocol
    std::vector<std::string> violations;  ///< of the invariants (invariants.h)
    bool one_history_checked = false;
    std::string log;  ///< every event; the same for the same scenario and seed
};

/// Told now and then. @param done  share of the scenario, 0 to 1.
using ScenarioProgress = std::function<void(double done, double virtual_seconds, std::int64_t step)>;

/// On this thread. Throws Error only for a scenario that makes no sense.
ScenarioResult run_scenario(const Scenario& scenario, std::uint64_t seed,
                            const ScenarioProgress& progress = {});

}  // namespace shoal::sim
