#include "shoal/lab/swarm_steps.h"

#include <algorithm>
#include <optional>
#include <set>

namespace shoal::lab {

SwarmSteps steps_of(const std::vector<const PeerLog*>& logs) {
    SwarmSteps first;
    for (const PeerLog* log : logs)
        for (const auto& [step, line] : log->steps) {
            const auto [known, is_new] = first.emplace(step, line);
            if (!is_new && line.time < known->second.time) known->second = line;
        }
    return first;
}

std::size_t disagreements(const std::vector<const PeerLog*>& logs) {
    std::map<std::int64_t, std::set<std::string>> digests;
    for (const PeerLog* log : logs)
        for (const auto& [step, line] : log->steps) digests[step].insert(line.digest);
    return static_cast<std::size_t>(
        std::count_if(digests.begin(), digests.end(), [](const auto& one) { return one.second.size() > 1; }));
}

Stretch stretch_within(const SwarmSteps& steps, double from, double to) {
    Stretch result;
    result.seconds = to - from;
    std::optional<double> before;
    for (const auto& [step, line] : steps) {
        if (before && line.time > *before) {
            const double within = std::max(0.0, std::min(line.time, to) - std::max(*before, from));
            const double part = within / (line.time - *before);
            result.samples += part * line.samples;
            result.steps += part;
        }
        before = line.time;
    }
    return result;
}

}  // namespace shoal::lab
