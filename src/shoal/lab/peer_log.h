// What a peer process has told so far, read from its metrics file while it is written (run/metrics.h).
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "shoal/lab/child_process.h"

namespace shoal::lab {

struct StepLine {
    double time = 0;  ///< seconds since 1970
    double loss = 0, swarm_loss = 0, seconds = 0;
    double samples = 0;  ///< of all contributors
    std::string digest;
};

struct RoundLine {
    double time = 0;
    std::int64_t step = 0, attempt = 0;
    std::string outcome, cause;
    std::map<std::string, double> weights;  ///< samples of each member, by short PeerId
    std::vector<std::string> lost;
    double match_seconds = 0, reduce_seconds = 0, vote_seconds = 0;
    std::uint64_t bytes_sent = 0, bytes_received = 0;
};

/// One thing that happened, for a list of events.
struct PeerEvent {
    double time = 0;
    std::string text;
};

class PeerLog {
  public:
    /// @param from  bytes at the beginning that are passed over: what an earlier process of the peer wrote.
    explicit PeerLog(const std::filesystem::path& metrics_file, std::streamoff from = 0)
        : tail_(metrics_file, from) {}

    /// Reads what is new. Returns what a person might want to know of it. Lines that are no JSON are passed
    /// over.
    std::vector<PeerEvent> update();

    std::string peer;  ///< short PeerId, once it has started
    std::map<std::int64_t, StepLine> steps;
    std::vector<RoundLine> rounds;
    std::map<std::int64_t, double> held_out;
    std::int64_t samples = 0;  ///< computed since its start
    double samples_per_second = 0, loss = 0;
    std::int64_t step = 0;
    std::uint64_t state_bytes = 0;                                                       ///< downloaded
    std::optional<double> started, synchronised, first_micro_batch, first_contribution;  ///< times

    std::uint64_t bytes_sent() const;
    std::uint64_t bytes_received() const;

  private:
    void read(const std::string& line, std::vector<PeerEvent>& events);

    LineTail tail_;
};

}  // namespace shoal::lab
