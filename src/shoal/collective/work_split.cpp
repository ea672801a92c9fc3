#include "shoal/collective/work_split.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "shoal/base/error.h"

namespace shoal::collective {
namespace {

/// Members that count as equally fast when no bandwidth is known.
constexpr double kUnknownBandwidth = 1.0;

/// Bandwidths with the unknown ones filled in. What neither reduces nor says its bandwidth stays 0: it binds
/// nothing.
std::vector<double> fill_bandwidths(std::span<const SplitMember> members) {
    double sum = 0;
    std::size_t known = 0;
    for (const SplitMember& member : members) {
        if (!std::isfinite(member.bandwidth) || member.bandwidth < 0)
            throw Error(ErrorKind::invalid_argument, "a bandwidth must be a finite number of at least 0");
        if (member.bandwidth == 0) continue;
        sum += member.bandwidth;
        ++known;
    }
    const double mean = known == 0 ? kUnknownBandwidth : sum / static_cast<double>(known);
    std::vector<double> bandwidths;
    for (const SplitMember& member : members) {
        const bool unknown = member.bandwidth == 0;
        bandwidths.push_back(unknown ? (member.reduces ? mean : 0) : member.bandwidth);
    }
    return bandwidths;
}

/// The bounds of a member's fraction within a round of xi; lower > upper where even the best one is too slow.
struct Bounds {
    double lower = 0, upper = 0;
};

Bounds bounds_of(const SplitMember& member, double bandwidth, double receivers, double xi) {
    const double budget = xi * bandwidth;
    // The load is `fixed + slope * w`.
    const double fixed = member.contributes ? 1 : 0;
    const double slope = member.contributes ? receivers - 2 : receivers;
    if (!member.reduces) return {0, bandwidth == 0 || budget >= fixed ? 0.0 : -1.0};
    if (slope > 0) return {0, std::min(1.0, (budget - fixed) / slope)};
    if (slope == 0) return {0, budget >= fixed ? 1.0 : -1.0};
    return {std::max(0.0, fixed - budget), 1};  // a single receiver: what it reduces itself need not travel
}

bool feasible(std::span<const Bounds> bounds) {
    double lower = 0, upper = 0;
    for (const Bounds& b : bounds) {
        if (b.lower > b.upper) return false;
        lower += b.lower;
        upper += b.upper;
    }
    return lower <= 1 && upper >= 1;
}

}  // namespace

std::vector<double> split_fractions(std::span<const SplitMember> members) {
    const bool anybody =
        std::any_of(members.begin(), members.end(), [](const SplitMember& m) { return m.reduces; });
    if (!anybody) throw Error(ErrorKind::invalid_argument, "nobody in the group can reduce");
    const std::vector<double> bandwidths = fill_bandwidths(members);
    const auto receivers = static_cast<double>(
        std::count_if(members.begin(), members.end(), [](const auto& m) { return m.contributes; }));
    std::vector<Bounds> bounds(members.size());
    const auto fits = [&](double xi) {
        for (std::size_t i = 0; i < members.size(); ++i)
            bounds[i] = bounds_of(members[i], bandwidths[i], receivers, xi);
        return feasible(bounds);
    };
    double high = 1.0 / *std::max_element(bandwidths.begin(), bandwidths.end());
    while (!fits(high)) high *= 2;
    double low = 0;
    for (int i = 0; i < 200 && low < high; ++i) {
        const double middle = low + (high - low) / 2;
        (fits(middle) ? high : low) = middle;
    }
    fits(high);
    // Where the slowest member binds, the upper bounds add up to more than 1: share in proportion to them.
    double sum = 0;
    for (const Bounds& b : bounds) sum += b.upper;
    std::vector<double> fractions;
    for (const Bounds& b : bounds)
        fractions.push_back(std::clamp(b.upper / sum, b.lower, std::max(b.lower, b.upper)));
    const double total = std::accumulate(fractions.begin(), fractions.end(), 0.0);
    for (double& fraction : fractions) fraction /= total;
    return fractions;
}

std::vector<std::size_t> split_work(std::size_t elements, std::span<const SplitMember> members,
                                    std::size_t minimum_part) {
    std::vector<double> scores = split_fractions(members);
    const auto size = static_cast<double>(elements);
    if (*std::max_element(scores.begin(), scores.end()) * size >= static_cast<double>(minimum_part)) {
        for (double& score : scores)
            if (score * size < static_cast<double>(minimum_part)) score = 0;
    }
    // Rounded, so that last-bit noise of the bisection cannot decide who gets an element.
    double sum = 0;
    for (double& score : scores) sum += score;
    for (double& score : scores) score = std::round(score / sum * 1e9) / 1e9;
    std::vector<std::size_t> parts;
    std::size_t given = 0;
    for (const double score : scores) {
        const auto part = std::min(static_cast<std::size_t>(std::floor(score * size)), elements - given);
        parts.push_back(part);
        given += part;
    }
    // The scores may add up to a little less than 1, and of a huge vector 1e-9 is many elements: the largest
    // takes them.
    const auto largest =
        static_cast<std::size_t>(std::max_element(scores.begin(), scores.end()) - scores.begin());
    if (elements - given > members.size()) {
        parts[largest] += elements - given - members.size();
        given = elements - members.size();
    }
    for (; given < elements; ++given) {
        std::size_t best = largest;
        for (std::size_t i = 0; i < parts.size(); ++i) {
            const auto priority = [&](std::size_t k) {
                return scores[k] / static_cast<double>(parts[k] + 1);
            };
            if (priority(i) > priority(best)) best = i;
        }
        ++parts[best];
    }
    return parts;
}

double split_cost(std::span<const double> fractions, std::span<const SplitMember> members) {
    const std::vector<double> bandwidths = fill_bandwidths(members);
    const auto receivers = static_cast<double>(
        std::count_if(members.begin(), members.end(), [](const auto& m) { return m.contributes; }));
    double cost = 0;
    for (std::size_t i = 0; i < members.size(); ++i) {
        if (bandwidths[i] == 0) continue;
        const double load =
            members[i].contributes ? 1 + (receivers - 2) * fractions[i] : receivers * fractions[i];
        cost = std::max(cost, load / bandwidths[i]);
    }
    return cost;
}

}  // namespace shoal::collective
