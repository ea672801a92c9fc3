// A scenario's result for people and for other programs: a table, JSON, pictures.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "shoal/run/result.h"
#include "shoal/sim/scenario_run.h"

namespace shoal::sim {

/// Steps, rounds, groups with their bottleneck, causes of failure: some twenty lines.
std::string scenario_table(const Scenario& scenario, const ScenarioResult& result);

/// Everything but the event log.
void add_to_json(const Scenario& scenario, const ScenarioResult& result, nlohmann::json& json);

/// Writes FILE (throughput and peers), FILE-loss, FILE-rounds and FILE-traffic, with FILE's ending. Throws
/// Error(system).
void draw_scenario(const Scenario& scenario, const ScenarioResult& result, const std::filesystem::path& file);

/// Holds the result against what every scenario demands: the invariants hold, and the swarm still steps in
/// the last tenth of its time; and against the ideal time of an averaging, where the scenario gives one.
void demand_of_scenario(const Scenario& scenario, const ScenarioResult& result, run::Result& demands);

}  // namespace shoal::sim
