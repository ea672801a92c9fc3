#include "shoal/collective/group_census.h"

#include <algorithm>
#include <vector>

#include "shoal/base/error.h"
#include "shoal/collective/group_partition.h"

namespace shoal::collective {

GroupCensus::GroupCensus(dht::Directory& directory, Clock& clock, const PeerId& self, std::string run,
                         Log log)
    : directory_(directory),
      clock_(clock),
      self_(self),
      run_(std::move(run)),
      log_(std::move(log)),
      level_(census_level(self)) {}

std::string GroupCensus::key(unsigned level) const {
    return run_ + "/census/" + std::to_string(level);
}

awaitable<void> GroupCensus::read() {
    constexpr std::size_t kMostOfOneLevel = 4096;
    std::map<PeerId, Progress> sample;
    unsigned level = kCensusLevels;
    while (level > 0 && sample.size() < kEnoughInCensus) {
        --level;
        const std::vector<dht::Record> records = co_await directory_.read(key(level));
        const std::size_t limit = sample.size() + kMostOfOneLevel;
        for (const dht::Record& record : records) {
            if (record.owner == self_ || record.value.empty() || sample.size() >= limit) continue;
            if (census_level(record.owner) != level || record.expires <= clock_.wall_now()) continue;
            try {
                ProgressRecord words = decode_progress(record.value, record.owner);
                if (!words.goodbye) sample[record.owner] = std::move(words.progress);
            } catch (const Error& error) {
                log_.debug(error.what());
            }
        }
    }
    const std::size_t seen = sample.size() + (level_ >= level ? 1 : 0);
    size_ = std::max(1.0, size_by_census(seen, level));
    stopped_at_ = level;
    sample_ = std::move(sample);
    step_ = middle_step();
    has_been_read_ = true;
}

Step GroupCensus::middle_step() const {
    std::vector<Step> training, all;
    for (const auto& [peer, progress] : sample_) {
        if (progress.role == Role::auxiliary) continue;
        all.push_back(progress.step);
        if (progress.training) training.push_back(progress.step);
    }
    std::vector<Step>& steps = training.empty() ? all : training;
    if (steps.empty()) return Step{};
    const auto middle = steps.begin() + static_cast<std::ptrdiff_t>(steps.size() / 2);
    std::nth_element(steps.begin(), middle, steps.end());
    return *middle;
}

}  // namespace shoal::collective
