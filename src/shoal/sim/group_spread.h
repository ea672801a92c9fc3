// How far apart the parameters of a swarm are that averages in groups (collective/group_partition.h): before
// the rounds of a step and after them.
//
// Thread: the one of the simulation.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <vector>

#include "shoal/base/units.h"

namespace shoal::sim {

class GroupSpread {
  public:
    struct Variance {
        std::size_t peers = 0;
        double before = 0, after = 0;  ///< of the peers' parameters, summed over all of them
        /// Of those peers whose parameters counted in a mean; the others only took one.
        std::size_t counted = 0;
        double counted_before = 0;
    };

    /// A peer's own parameters, and those of its group's mean, by which it replaces them.
    /// @param counts  its own were among those that the mean is of
    void add(Step from, std::span<const float> own, std::span<const float> mean, bool counts);
    /// Of the peers that took this step. Nothing where nobody has.
    Variance of(Step from) const;

  private:
    struct Sums {
        std::vector<double> sum, squares;
        void add(std::span<const float> values);
        double variance(std::size_t peers) const;
    };
    struct OfStep {
        std::size_t peers = 0, counted = 0;
        Sums before, after, counted_before;
    };
    std::map<Step, OfStep> steps_;
};

/// What is left of the variance among `peers` after a step in so many groups, on average.
double variance_left(std::size_t peers, double groups);

}  // namespace shoal::sim
