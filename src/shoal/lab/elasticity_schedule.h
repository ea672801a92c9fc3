// Who is there when in `shoal lab elasticity`, and what its windows and losses are held against. Pure.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "shoal/lab/swarm_steps.h"

namespace shoal::lab {

struct ElasticPeer {
    std::string name;
    double speed = 0;  ///< samples per second
    bool part_time = false;
};

/// Four steady and four part-time peers, of different speeds.
std::vector<ElasticPeer> elastic_peers();

/// One change of the membership: which peers (by index) come and go at the same moment.
struct Change {
    std::vector<std::size_t> come, say_goodbye, are_killed;
};

/// The written schedule. The first change brings the steady peers; then each part-time peer comes and goes,
/// several times, some with a goodbye and some by kill -9. A membership lasts until the next change.
/// @param quick  one and a half cycles instead of three.
std::vector<Change> elasticity_schedule(bool quick);

/// The members after each change, sorted. Throws Error(invalid_argument) if somebody comes who is there, or
/// goes who is not.
std::vector<std::vector<std::size_t>> memberships(const std::vector<Change>& schedule);

/// A time of constant membership: from the moment when all that come have contributed and all that go have
/// ended, until the next change.
struct Window {
    double from = 0, to = 0;  ///< seconds since 1970
    std::size_t peers = 0;
    double speed = 0;  ///< of all members together, samples per second
    Stretch measured;

    /// What the speeds allow at the size that the batches had.
    double expected_steps_per_second() const;
    /// Measured steps a second over those; not a number if no step was taken.
    double ratio() const;
};

/// How far the ratios of windows are from one.
struct Follows {
    double mean_ratio = 0, mean_error = 0, worst_error = 0;  ///< errors: |ratio - 1|
};

/// Not a number if there is no window, or one without a step.
Follows follow(const std::vector<Window>& windows);

/// The loss by steps of two runs, at the steps that both took.
struct LossComparison {
    std::int64_t steps = 0;
    double fall = 0;  ///< of the reference: mean of the first tenth of steps minus mean of the last
    double mean_difference = 0;  ///< of the losses at the same step, this run's minus the reference's
    double standard_error = 0;   ///< of that mean, if the steps' differences were independent
    double worst_tenth = 0;      ///< the largest |mean difference| of a tenth of the steps

    double share_of_fall() const;
    double worst_share_of_fall() const;
};

/// Not a number (but for the count) if there are fewer than ten common steps.
LossComparison compare_losses(const SwarmSteps& run, const SwarmSteps& reference);

}  // namespace shoal::lab
