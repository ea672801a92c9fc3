#include "shoal/lab/elasticity_schedule.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include "shoal/base/error.h"

namespace shoal::lab {
namespace {

constexpr double kNothing = std::numeric_limits<double>::quiet_NaN();
constexpr std::size_t kTenths = 10;

double mean(const std::vector<double>& values, std::size_t from, std::size_t to) {
    double sum = 0;
    for (std::size_t i = from; i < to; ++i) sum += values[i];
    return sum / static_cast<double>(to - from);
}

}  // namespace

std::vector<ElasticPeer> elastic_peers() {
    return {{"steady-1", 32, false},   {"steady-2", 32, false},   {"steady-3", 16, false},
            {"steady-4", 16, false},   {"part-time-1", 48, true}, {"part-time-2", 32, true},
            {"part-time-3", 24, true}, {"part-time-4", 16, true}};
}

std::vector<Change> elasticity_schedule(bool quick) {
    std::vector<Change> schedule = {
        {{0, 1, 2, 3}, {}, {}},
        // Two by two, and away again.
        {{4, 5}, {}, {}},
        {{6, 7}, {}, {}},
        {{}, {4}, {6}},
        {{}, {7}, {5}},
        // All at once.
        {{4, 5, 6, 7}, {}, {}},
    };
    if (quick) return schedule;
    const std::vector<Change> further = {
        // One goes as others come.
        {{}, {}, {4}},    {{4}, {5}, {}},    {{}, {4, 6}, {7}},
        {{5, 7}, {}, {}}, {{4, 6}, {}, {5}}, {{}, {6}, {4, 7}},
    };
    schedule.insert(schedule.end(), further.begin(), further.end());
    return schedule;
}

std::vector<std::vector<std::size_t>> memberships(const std::vector<Change>& schedule) {
    std::vector<std::vector<std::size_t>> result;
    std::set<std::size_t> members;
    for (const Change& change : schedule) {
        for (const auto* gone : {&change.say_goodbye, &change.are_killed})
            for (const std::size_t peer : *gone)
                if (members.erase(peer) == 0)
                    throw Error(ErrorKind::invalid_argument, "a peer goes that is not there");
        for (const std::size_t peer : change.come)
            if (!members.insert(peer).second)
                throw Error(ErrorKind::invalid_argument, "a peer comes that is there");
        result.emplace_back(members.begin(), members.end());
    }
    return result;
}

double Window::expected_steps_per_second() const {
    return measured.samples > 0 ? speed / measured.samples_per_step() : kNothing;
}

double Window::ratio() const {
    return measured.steps_per_second() / expected_steps_per_second();
}

Follows follow(const std::vector<Window>& windows) {
    if (windows.empty()) return {kNothing, kNothing, kNothing};
    Follows result;
    for (const Window& window : windows) {
        const double error = std::abs(window.ratio() - 1);
        result.mean_ratio += window.ratio() / static_cast<double>(windows.size());
        result.mean_error += error / static_cast<double>(windows.size());
        // max() would pass over what is not a number.
        if (!(error <= result.worst_error)) result.worst_error = error;
        if (std::isnan(error)) return {kNothing, kNothing, kNothing};
    }
    return result;
}

double LossComparison::share_of_fall() const {
    return mean_difference / fall;
}

double LossComparison::worst_share_of_fall() const {
    return worst_tenth / fall;
}

LossComparison compare_losses(const SwarmSteps& run, const SwarmSteps& reference) {
    std::vector<double> difference, expected;
    for (const auto& [step, line] : reference)
        if (const auto found = run.find(step); found != run.end()) {
            difference.push_back(found->second.swarm_loss - line.swarm_loss);
            expected.push_back(line.swarm_loss);
        }
    const std::size_t count = difference.size();
    LossComparison result{static_cast<std::int64_t>(count), kNothing, kNothing, kNothing, kNothing};
    if (count < kTenths) return result;
    const std::size_t tenth = count / kTenths;
    result.fall = mean(expected, 0, tenth) - mean(expected, count - tenth, count);
    result.mean_difference = mean(difference, 0, count);
    double square = 0;
    for (const double one : difference) square += std::pow(one - result.mean_difference, 2);
    const auto steps = static_cast<double>(count);
    result.standard_error = std::sqrt(square / (steps - 1) / steps);
    result.worst_tenth = 0;
    for (std::size_t i = 0; i < kTenths; ++i)
        result.worst_tenth = std::max(
            result.worst_tenth, std::abs(mean(difference, i * count / kTenths, (i + 1) * count / kTenths)));
    return result;
}

}  // namespace shoal::lab
