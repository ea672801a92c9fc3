// What is wrong with a machine's set-up for a run, in plain words.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "shoal/base/clock.h"
#include "shoal/base/log.h"
#include "shoal/run/definition.h"

namespace shoal::run {

struct Finding {
    enum class Level {
        fine,
        note,   ///< works, but could be better
        wrong,  ///< will fail or disturb
    } level = Level::fine;
    std::string subject;  ///< "processor", "port", ...
    std::string text;     ///< what was found
    std::string advice;   ///< what to do; empty where nothing is to be done
};
std::string_view to_string(Finding::Level level);
/// Puts one together; without advice where nothing is to be done.
Finding make_finding(Finding::Level level, std::string subject, std::string text, std::string advice = {});

/// What is known of the machine; filled in by look_at_machine(), or by a test.
struct Machine {
    unsigned cores = 0;
    std::uint64_t memory_bytes = 0, available_memory_bytes = 0;
    std::uint64_t open_files = 0;          ///< soft limit
    std::uint64_t open_files_maximum = 0;  ///< hard limit
    std::string open_blas;  ///< "openmp", "pthread", "serial", "none" (not found) or "" (another BLAS)
    std::optional<bool> clock_synchronised;  ///< nothing if the kernel does not say
    std::uint64_t free_disk_bytes = 0;       ///< where the peer's folder is or will be
    bool bbr = false;                        ///< the kernel offers TCP congestion control BBR
};

Machine look_at_machine(const std::filesystem::path& folder);

/// Judges a machine. @param definition  may be that of no run (defaults).
std::vector<Finding> judge_machine(const Machine& machine, const RunDefinition& definition);

/// Judges the difference to another peer's clock, in seconds.
Finding judge_clock(const std::string& peer, double difference, double uncertainty);

/// A run file as the doctor finds it.
struct Examined {
    RunDefinition definition;  ///< as far as it can be used; defaults for the rest
    std::vector<Finding> findings;
};

/// Reads a run file as `shoal train` does: every problem is a finding. @param file  empty: none was given.
Examined examine_run_file(const std::filesystem::path& file, const std::vector<Override>& overrides);

/// Files of the run: data, vocabulary, model. Looks at what they are, not at all that is in them.
std::vector<Finding> judge_files(const RunDefinition& definition);

/// Whether the peer's folder can be made or written, and whether another process uses it. Leaves no trace.
Finding judge_folder(const std::filesystem::path& folder);

/// Tries the port, each bootstrap address, and, with the help of the peers that answer, clock, bandwidth and
/// reachability. Takes a few seconds; runs an io_context of its own on the calling thread.
std::vector<Finding> try_network(const RunDefinition& definition, Log log);

/// One line a finding, with its advice on a second, and a last line with the verdict.
std::string to_text(const std::vector<Finding>& findings);
std::string to_json(const std::vector<Finding>& findings);
bool something_is_wrong(const std::vector<Finding>& findings);

}  // namespace shoal::run
