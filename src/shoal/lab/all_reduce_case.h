// One case of `shoal bench allreduce`: what was measured of every contestant, and what follows from it.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "shoal/lab/all_reduce_contestants.h"

namespace shoal::lab {

/// Where the processors' time of a round went, as shares of the time that the processors in use had: sums
/// to 1.
struct TimeShares {
    double tls = 0;      ///< what the round with TLS takes more than the one without
    double kernel = 0;   ///< sockets, with their copies
    double copying = 0;  ///< in our own memory
    double adding = 0;
    double other = 0;    ///< matching, vote, digests, wake-ups
    double waiting = 0;  ///< no process had work
};

class AllReduceCase {
  public:
    AllReduceCase(AllReduceJob job, std::size_t contestants) : job_(std::move(job)), measured_(contestants) {}

    const AllReduceJob& job() const { return job_; }
    std::size_t bytes() const { return job_.elements * sizeof(float); }
    /// "4 peers, 64 MiB, fp32"
    std::string name() const;

    void add_turn(std::size_t contestant, const std::vector<RoundFigures>& rounds);

    /// Medians over all turns.
    double seconds(std::size_t contestant) const { return median_of(contestant, &RoundFigures::seconds); }
    double cpu_seconds(std::size_t contestant) const {
        return median_of(contestant, &RoundFigures::cpu_seconds);
    }
    double best_seconds(std::size_t contestant) const;
    /// Median over turns of one contestant's figure over the other's, turn by turn, so that a drifting
    /// machine cancels out.
    double ratio(std::size_t contestant, std::size_t yardstick, double RoundFigures::* column) const;

    /// Of the round with TLS.
    TimeShares shares(std::size_t with_tls, std::size_t without) const;
    /// Seconds that this machine needs at the least: the bytes over bare TCP in the best round, and the
    /// additions and copies at the rates that they have alone, on all processors that the processes can use.
    double limit_seconds(std::size_t bare_tcp, std::size_t without) const;

  private:
    double median_of(std::size_t contestant, double RoundFigures::* column) const;
    double processors() const;

    AllReduceJob job_;
    std::vector<std::vector<RoundFigures>> measured_;  // by contestant: medians of each turn
    std::vector<double> best_;
};

nlohmann::json to_json(const TimeShares& shares);

/// "64 MiB", "1 KiB"
std::string size_text(std::size_t bytes);

}  // namespace shoal::lab
