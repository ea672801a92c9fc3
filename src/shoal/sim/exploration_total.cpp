#include "shoal/sim/exploration_total.h"

#include <algorithm>
#include <atomic>
#include <mutex>
#include <thread>

namespace shoal::sim {

namespace {

void add(ExplorationTotal& total, const Exploration& exploration) {
    ++total.seeds;
    total.peers += exploration.peers;
    total.rounds_averaged += exploration.rounds_averaged;
    total.rounds_failed += exploration.rounds_failed;
    total.comparisons += exploration.comparisons;
    total.one_history_checked += exploration.one_history_checked;
    total.virtual_seconds += exploration.virtual_seconds;
    for (const auto& [kind, count] : exploration.faults) {
        total.faults_by_kind[kind] += count;
        total.faults += static_cast<std::uint64_t>(count);
    }
    if (!exploration.violations.empty()) total.failing.push_back(exploration.seed);
    total.last_log = exploration.log;
}

}  // namespace

ExplorationTotal explore_many(std::uint64_t first, std::uint64_t count, unsigned threads,
                              const std::function<void(std::uint64_t, const Exploration&)>& on_seed,
                              const ExplorerSettings& settings) {
    ExplorationTotal total;
    std::mutex ended;  // a seed takes a second; nobody waits here
    std::atomic<std::uint64_t> next{0};
    const auto work = [&] {
        for (std::uint64_t i = next++; i < count; i = next++) {
            const Exploration exploration = explore(first + i, settings);
            const std::lock_guard lock(ended);
            add(total, exploration);
            if (on_seed) on_seed(total.seeds, exploration);
        }
    };
    {
        std::vector<std::jthread> workers;
        for (unsigned i = 0; i < std::max(1U, threads); ++i) workers.emplace_back(work);
    }
    std::sort(total.failing.begin(), total.failing.end());
    return total;
}

}  // namespace shoal::sim
