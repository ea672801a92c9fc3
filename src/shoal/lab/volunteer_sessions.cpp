#include "shoal/lab/volunteer_sessions.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <fmt/format.h>

namespace shoal::lab {
namespace {

constexpr std::array kShares = {1.0, 0.25, 2.0, 0.75, 1.5, 0.5};  // of the mean speed

double draw_seconds(double mean, Random& random) {
    const double drawn = -mean * std::log1p(-random.uniform());
    return std::max(kShortest, std::clamp(drawn, mean / 4, mean * 3));
}

}  // namespace

std::vector<Volunteer> volunteers_of(int organisers, int volunteers) {
    std::vector<Volunteer> all;
    for (int i = 0; i < organisers; ++i)
        all.push_back({fmt::format("organiser-{:02}", i + 1), kMeanSpeed, true});
    for (int i = 0; i < volunteers; ++i)
        all.push_back({fmt::format("volunteer-{:02}", i + 1),
                       kMeanSpeed * kShares[static_cast<std::size_t>(i) % kShares.size()], false});
    return all;
}

std::vector<Visit> draw_visits(const std::vector<Volunteer>& volunteers, const VisitPlan& plan,
                               Random& random) {
    std::vector<Visit> visits;
    for (std::size_t who = 0; who < volunteers.size(); ++who) {
        if (volunteers[who].organiser) {
            visits.push_back({who, 0, plan.seconds, true});
            continue;
        }
        double from = random.uniform() * std::min(plan.latest_first, plan.seconds);
        while (from < plan.seconds) {
            const double to = from + draw_seconds(plan.mean_visit, random);
            visits.push_back({who, from, to, random.uniform() >= plan.kill_share});
            from = to + draw_seconds(plan.mean_away, random);
        }
    }
    std::stable_sort(visits.begin(), visits.end(),
                     [](const Visit& a, const Visit& b) { return a.from < b.from; });
    return visits;
}

}  // namespace shoal::lab
