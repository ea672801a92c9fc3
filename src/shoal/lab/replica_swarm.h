// Peers of an experiment that sleep in place of computing (sim/replica.h): real processes of one run, each on
// a machine of its own (a network namespace). Not thread-safe.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "shoal/lab/peer_process.h"
#include "shoal/lab/shaped_lines.h"
#include "shoal/lab/swarm_steps.h"

namespace shoal::lab {

/// What all replicas of a run have in common.
struct ReplicaRun {
    std::string name;
    std::filesystem::path folder;  ///< of run.toml; "peers" in it has a folder for each name
    std::int64_t target_batch_size = 0;
    std::int64_t steps = 1'000'000;           ///< its last step
    std::vector<std::size_t> bootstrap = {};  ///< machines whose addresses everybody is given
    std::vector<std::string> arguments = {};  ///< further ones of `shoal replica`, the same for all
};

/// What is one replica's own.
struct ReplicaStart {
    std::string name;
    double speed = 0;  ///< samples per second
    std::int64_t micro_batch = 1;
    bool client = false;  ///< as behind a router: it accepts no connection
    /// Is no node of the directory, but asks those that are. Dozens of nodes that come and go all the time
    /// keep one machine busy.
    bool through_peers = false;
};

/// How the experiment ends a replica: SIGINT, at which it says goodbye, or kill -9.
enum class Departure { goodbye, kill };

/// One process. A peer that comes again is another one, with the key and the records of the first.
struct Replica {
    PeerProcess peer;
    std::size_t machine = 0;
    double speed = 0;                       ///< samples per second
    std::optional<double> told_to_go = {};  ///< when it was stopped, seconds since 1970
    bool ended = false;                     ///< and its log has been read to the end
};

class ReplicaSwarm {
  public:
    /// Makes the folder, emptied of an earlier experiment's peers, and the run file. `lines` must outlive it.
    /// Throws Error(bad_input) and Error(system).
    ReplicaSwarm(ReplicaRun run, const ShapedLines& lines);

    /// Starts a process on a machine where none runs. A name that ran before, on any machine, goes on in its
    /// folder. Throws Error(system).
    void start(std::size_t machine, const ReplicaStart& start);
    /// Ends the process of a machine; nothing if it was told to go already. Does not wait for its end.
    void stop(std::size_t machine, Departure how);
    void stop_all(Departure how);

    /// Reads what is new in all logs; to be called from time to time. Throws Error(system) if a process ended
    /// that was not told to, before the last step, or badly.
    void update();

    /// The newest process of a machine, which must have had one.
    Replica& at(std::size_t machine) { return replicas_[newest_.at(machine)]; }
    /// No process has been started on the machine, or it has ended.
    bool is_free(std::size_t machine) const;
    bool all_ended() const;
    /// Every process, in the order of their starts.
    const std::vector<Replica>& replicas() const { return replicas_; }
    /// Those that have neither ended nor been told to go.
    std::vector<const Replica*> present() const;
    std::vector<const PeerLog*> logs() const;

    /// The last step that anybody has taken.
    std::int64_t step() const;
    /// All that are present have been part of an averaged round, with samples.
    bool all_contribute() const;
    /// All that are present have taken the step before the last one, with the same parameters.
    bool all_agree() const;
    std::filesystem::path peers_folder() const { return run_.folder / "peers"; }

  private:
    void write_run_file() const;

    ReplicaRun run_;
    const ShapedLines& lines_;
    std::map<std::size_t, std::size_t> newest_;  // by machine: index of its process
    std::vector<Replica> replicas_;
};

/// Calls `look` until the condition holds. `look` sleeps. Throws Error(timed_out) that names what was waited
/// for and where the logs are after `limit` seconds.
void look_until(const std::string& what, double limit, const std::filesystem::path& logs,
                const std::function<void()>& look, const std::function<bool()>& met);

}  // namespace shoal::lab
