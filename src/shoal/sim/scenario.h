// A scenario: which peers, on which lines, with which habits, and what befalls them. Read from a TOML file.
//
//     [scenario]
//     about = "sixteen unequal peers"
//     target_batch_size = 4096         # samples
//     steps = 30                       # ends after these, or ...
//     duration = 3600                  # ... after this many seconds
//     payload_megabytes = 35.7         # of one encoded gradient
//
//     [[peers]]
//     name = "fast"
//     count = 4
//     upload = 200                     # Mbit/s
//     download = 200
//     samples_per_second = 20
//
//     [[events]]
//     at = 600                         # seconds
//     what = "partition"
//     peers = ["fast"]
//
// `shoal sim --keys` prints all keys with their meaning. Sources of the ready scenarios (scenarios/*.toml):
// DeDLOC, sections 5.2 and 6 of the notes.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "shoal/sim/swarm.h"

namespace shoal::sim {

/// Peers of one kind.
struct PeerGroup {
    std::string name;
    std::int64_t count = 1;
    collective::Role role = collective::Role::full;
    double upload = 0, download = 0;  ///< bytes per second; 0: unlimited
    Duration latency = std::chrono::milliseconds(5);
    std::string region;  ///< one of Scenario::regions; empty: the first
    double samples_per_second = 10;
    std::int64_t micro_batch = 16;  ///< samples
    double time_jitter = 0.1;       ///< a micro-batch takes up to this share longer
    double joins_at = 0;            ///< seconds
    double joins_within = 0;        ///< seconds: not all at once, but spread over this time
    double median_session = 0;      ///< seconds until a peer is gone (log-normal); 0: it stays
    double median_absence = 0;      ///< seconds until it is back (log-normal); 0: it never comes back
    double crashes = 0.5;           ///< share of the sessions that end without a goodbye
};

struct ScenarioEvent {
    enum class What { partition, heal, crash, freeze, thaw, restart, slow, fast };
    double at = 0;  ///< seconds
    What what = What::heal;
    std::vector<std::string> peers;  ///< names of groups; of a partition: those that find themselves apart
    std::int64_t count = 0;          ///< how many of them, drawn by the seed; 0: all
    double factor = 0.1;             ///< of `slow`: what is left of the rates
    double every = 0, until = 0;     ///< seconds: happens again and again
};

struct Scenario {
    std::string name, about;
    std::int64_t target_batch_size = 4096;
    std::int64_t steps = 0;  ///< 0: no end but `duration`
    double duration = 3600;  ///< seconds of virtual time at most
    double payload_bytes = 35.7e6;
    std::size_t parameters = 1024;          ///< of the small vector that stands for the payload
    double ideal_averaging_seconds = 0;     ///< on a network without latency and overhead; 0: not known
    double ideal_step_seconds = 0;          ///< likewise, of a whole step
    bool adaptive_quorum = false;           ///< rounds wait for late peers only as long as it pays
    bool choose_roles = false;              ///< who sends too slowly to be of use computes nothing
    std::int64_t group_size = 0;            ///< averages in groups of about so many; 0: in one
    double parameter_spread = 0;            ///< standard deviation of what the peers begin with
    bool delayed = false;                   ///< averaging goes on beside the computing
    bool load_balancing = true;             ///< false: every reducer owns an equal share, whatever its line
    std::size_t segment_bytes = 64 * 1024;  ///< that a stream sends at most before another may
    double jitter = 0;                      ///< seconds, of each packet's way
    double directory_delay = 0.05, directory_loss = 0;
    std::vector<std::string> regions;
    std::vector<std::vector<double>> region_latency;  ///< seconds, one way
    std::vector<PeerGroup> peers;
    std::vector<ScenarioEvent> events;

    std::int64_t peer_count() const;
};

std::string_view to_string(ScenarioEvent::What what);

/// Throws Error(bad_input) with file, line and what is wrong: unknown keys (with the nearest known one),
/// wrong types, impossible values, names of groups and regions that do not exist.
Scenario parse_scenario(std::string_view toml, const std::string& file);

/// A ready scenario by its name, or a file. Throws Error(bad_input) that lists the names if it is neither.
Scenario load_scenario(const std::string& name_or_file);

/// An eighth of its steps and time, with the events where they were, for a first look.
void shorten(Scenario& scenario);

/// Those that come with the program.
struct ReadyScenario {
    std::string_view name, toml;
};
const std::vector<ReadyScenario>& ready_scenarios();

/// All keys with their meaning, a line each, by section.
std::string scenario_keys();

}  // namespace shoal::sim
