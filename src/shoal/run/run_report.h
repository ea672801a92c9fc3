// What a run was, told from the records that its peers left in their folders: who took part, when, with how
// much, and what it cost.
#pragma once

#include <cstdint>
#include <filesystem>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "shoal/run/result.h"

namespace shoal::run {

/// A time without interruption that a participant was there. Times: seconds since 1970.
struct Session {
    double start = 0, end = 0;
    bool stopped = false;  ///< it said goodbye; otherwise it was killed, or still runs
};

/// What one peer did in all of its sessions.
struct Participant {
    std::string name;  ///< printable; the last that it bore, or its folder's, or its short id
    std::string peer;  ///< id in hex: whole, short (8 digits) if only others tell of it, or empty
    std::string role;
    bool has_records = false;  ///< false: known from the records of others only
    std::vector<Session> sessions;
    double micro_batches = 0, dropped = 0, samples = 0;  ///< computed
    double counted_samples = 0;  ///< of those, what went into averages that became steps
    /// Payload of averaging rounds, and state; state that a newcomer loaded counts as sent by its donors in
    /// equal parts.
    double bytes_sent = 0, bytes_received = 0;
    std::set<std::int64_t> steps;                  ///< that it took
    std::map<std::string, std::int64_t> failures;  ///< by the causes of shoal_failures_total
    bool priced = false;
    double dollars_per_hour = 0;

    /// Seconds of all sessions.
    double online() const;
};

/// When the first peer took a step, and the swarm's loss of it (not a number if nobody wrote a finite one).
struct StepOfRun {
    double time = 0, loss = std::numeric_limits<double>::quiet_NaN();
};

struct RunReport {
    std::set<std::string> runs;             ///< names; more than one: records of several runs are mixed
    std::vector<Participant> participants;  ///< who contributed most comes first
    std::map<std::int64_t, StepOfRun> steps;
    std::vector<std::string> warnings;  ///< what could not be used, with file and line
    double dollars_per_gigabyte = 0;    ///< of 10^9 bytes sent
    bool traffic_priced = false;

    /// Seconds from the first record to the last.
    double seconds() const;
    /// Sums over all participants.
    double counted_samples() const;
    double bytes_sent() const;
    double online() const;
    /// Dollars, for the time online and for what was sent.
    double cost() const;
    /// Seconds since the first record, and how many are there from then on.
    std::vector<std::pair<double, int>> peers_over_time() const;
};

/// Silence beyond which a participant counts as away, though its process said neither goodbye nor hello.
inline constexpr double kAwaySeconds = 600;
/// A longer line is skipped.
inline constexpr std::size_t kMaximumRecordBytes = std::size_t{1} << 20;

/// Reads every metrics.jsonl (and the metrics.old.jsonl before it) in and below the folders. What is
/// damaged, half-written or foreign is skipped with a warning, and so is a copy of a session.
/// @param away_seconds  a silence longer than this parts two sessions.
/// Throws Error(system) if no record can be read at all.
RunReport read_run_report(const std::vector<std::filesystem::path>& folders,
                          double away_seconds = kAwaySeconds);

/// What an hour costs of those whose name the shell pattern matches.
struct Price {
    std::string pattern;
    double dollars_per_hour = 0;
};

/// Parses "PATTERN=DOLLARS_PER_HOUR". Throws Error(invalid_argument).
Price parse_price(const std::string& text);

/// Sets each participant's price: of the first pattern that matches. A pattern that matches nobody in any of
/// the reports is a warning of the first. `reports` is not empty.
void set_prices(const std::vector<RunReport*>& reports, const std::vector<Price>& prices);

/// The tables for a terminal. @param against  another run, as a second column; null: none.
std::string to_table(const RunReport& report, const RunReport* against = nullptr);
/// The same and more for programs.
nlohmann::ordered_json to_json(const RunReport& report, const RunReport* against = nullptr);
/// Participants over time.
Picture picture_of(const RunReport& report, const RunReport* against = nullptr);

}  // namespace shoal::run
