// When the volunteers of `shoal lab volunteers` are there, and how fast each is. Pure.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "shoal/base/random.h"

namespace shoal::lab {

struct Volunteer {
    std::string name;
    double speed = 0;        ///< samples per second
    bool organiser = false;  ///< there all of the time
};

/// Organisers' peers first, of kMeanSpeed each; volunteers from a quarter of it to twice, kMeanSpeed in the
/// mean of each six.
inline constexpr double kMeanSpeed = 8;
std::vector<Volunteer> volunteers_of(int organisers, int volunteers);

/// A time that a peer is there, seconds since the start of the run.
struct Visit {
    std::size_t who = 0;  ///< index of volunteers_of()
    double from = 0, to = 0;
    bool goodbye = true;  ///< otherwise it ends by kill -9
};

/// How long volunteers stay and are away. Both are drawn from exponential distributions that are cut at a
/// quarter and at three times the mean, and at kShortest.
struct VisitPlan {
    double seconds = 0;        ///< for which visits are drawn; the organisers' last for so long
    double mean_visit = 0;     ///< before the cut, seconds
    double mean_away = 0;      ///< likewise
    double latest_first = 0;   ///< each volunteer comes for the first time before, uniform; at most `seconds`
    double kill_share = 0.25;  ///< of the visits that end by kill -9
};

/// A process needs a moment to start, and to be missed.
inline constexpr double kShortest = 5;

/// Sorted by their beginning. Visits of one peer do not overlap, and are kShortest apart at least.
std::vector<Visit> draw_visits(const std::vector<Volunteer>& volunteers, const VisitPlan& plan,
                               Random& random);

}  // namespace shoal::lab
