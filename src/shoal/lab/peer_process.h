// A peer of an experiment: a real `shoal train` or `shoal seed` process, and what it has told so far.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "shoal/lab/child_process.h"
#include "shoal/lab/peer_log.h"

namespace shoal::lab {

struct PeerProcess {
    std::string name;
    std::string role;  ///< "full", "client" or "auxiliary"
    std::filesystem::path folder;
    std::unique_ptr<ChildProcess> process;
    std::unique_ptr<PeerLog> log;
    double spawned = 0;   ///< seconds since 1970
    bool killed = false;  ///< by the experiment

    bool trains() const { return role != "auxiliary"; }
    bool running() { return !process->poll(); }
};

struct PeerStart {
    std::string name, role = "full";
    std::filesystem::path run_file;
    std::filesystem::path folder;             ///< of the peer; made if missing
    std::vector<std::string> settings = {};   ///< "section.key=value", as for --set
    std::vector<std::string> arguments = {};  ///< further ones
    std::vector<std::string> command =
        {};  ///< program and what stands before the run file; empty: by the role
};

/// Starts the process. Its log leaves out what the folder holds already: records of an earlier process of
/// the same peer. Throws Error(system) if that fails.
PeerProcess start_peer(const PeerStart& start);

/// A port that is free for TCP and UDP on loopback now. (Another process may take it before its peer does;
/// the peer then says so.)
std::uint16_t free_port();

/// Seconds since 1970.
double wall_seconds();

}  // namespace shoal::lab
