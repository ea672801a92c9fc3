#include "shoal/collective/group_census.h"

#include <algorithm>
#include <asio/this_coro.hpp>
#include <cmath>
#include <iterator>
#include <vector>

#include "shoal/base/async.h"
#include "shoal/base/error.h"
#include "shoal/collective/group_partition.h"
#include "shoal/collective/step_group.h"

namespace shoal::collective {

namespace {

unsigned level_to_start_at(double size) {
    const double parts = size / static_cast<double>(kEnoughInCensus);
    if (!(parts > 1)) return 0;
    return std::min(static_cast<unsigned>(std::log2(parts)), kCensusLevels - 1);
}

}  // namespace

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

awaitable<void> GroupCensus::read_level(unsigned level, Sample& sample) {
    constexpr std::size_t kMostOfOneLevel = 4096;
    const std::vector<dht::Record> records = co_await directory_.read(key(level));
    for (const dht::Record& record : records) {
        if (record.owner == self_ || record.value.empty() || sample.size() >= kMostOfOneLevel) continue;
        if (census_level(record.owner) != level || record.expires <= clock_.wall_now()) continue;
        try {
            ProgressRecord words = decode_progress(record.value, record.owner);
            if (!words.goodbye) sample[record.owner] = std::move(words.progress);
        } catch (const Error& error) {
            log_.debug(error.what());
        }
    }
}

awaitable<void> GroupCensus::read_levels(unsigned lowest, unsigned end, std::vector<Sample>& levels) {
    asio::any_io_executor executor = co_await asio::this_coro::executor;
    TaskGroup reading(executor);
    for (unsigned level = lowest; level < end; ++level) reading.spawn(read_level(level, levels[level]));
    co_await reading.join();
}

/// What most levels say that have anybody: a few that somebody has filled with keys made for them do not
/// count.
double GroupCensus::size_by_levels(const std::vector<Sample>& levels) const {
    std::vector<double> sizes;
    for (unsigned level = 0; level < kCensusLevels; ++level) {
        const unsigned doublings = std::min(level + 1, kCensusLevels - 1);
        if (!levels[level].empty()) sizes.push_back(size_by_census(levels[level].size(), doublings));
    }
    if (sizes.empty()) return 1;
    const auto middle = sizes.begin() + static_cast<std::ptrdiff_t>(sizes.size() / 2);
    std::nth_element(sizes.begin(), middle, sizes.end());
    return *middle;
}

awaitable<void> GroupCensus::read(double expected_size) {
    constexpr std::size_t kTooFew = kEnoughInCensus / 4;
    std::vector<Sample> levels(kCensusLevels);
    if (!has_been_read_) {
        co_await read_levels(0, kCensusLevels, levels);
        expected_size = size_by_levels(levels);
    }
    unsigned lowest = level_to_start_at(expected_size);
    const unsigned end = std::min(lowest + kLevelsRead, kCensusLevels);
    if (has_been_read_) co_await read_levels(lowest, end, levels);
    std::size_t seen = 0;
    for (unsigned level = lowest; level < end; ++level) seen += levels[level].size();
    while (lowest > 0 && seen < kTooFew) {
        --lowest;
        if (has_been_read_) co_await read_level(lowest, levels[lowest]);
        seen += levels[lowest].size();
    }
    sample_.clear();
    for (unsigned level = lowest; level < end; ++level) sample_.merge(levels[level]);
    if (level_ >= lowest && level_ < end) ++seen;
    size_ = std::max(1.0, size_by_census(seen, lowest));
    stopped_at_ = lowest;
    has_been_read_ = true;
}

awaitable<std::size_t> GroupCensus::count_in_group(std::string group_key, Step step,
                                                   std::function<bool(const PeerId&)> counts) {
    const std::vector<dht::Record> records = co_await directory_.read(std::move(group_key));
    std::size_t count = 0;
    for (const dht::Record& record : records) {
        const bool lives = record.expires > clock_.wall_now() && !record.value.empty();
        if (record.owner == self_ || !lives || !counts(record.owner)) continue;
        try {
            const ProgressRecord words = decode_progress(record.value, record.owner);
            const Progress& peer = words.progress;
            const bool is_near = next(peer.step) >= step && value(peer.step) <= value(step) + kFarthestGone;
            if (!words.goodbye && peer.training && peer.role != Role::auxiliary && is_near) ++count;
        } catch (const Error& error) {
            log_.debug(error.what());
        }
    }
    co_return count;
}

std::vector<Progress> GroupCensus::and_sample(std::vector<Progress> group,
                                              const std::function<bool(const PeerId&)>& doubted) const {
    std::vector<Progress> all;
    all.reserve(group.size() + sample_.size());
    auto next = group.begin();
    for (const auto& [peer, progress] : sample_) {
        while (next != group.end() && next->peer < peer) all.push_back(std::move(*next++));
        const bool is_known = next != group.end() && next->peer == peer;
        if (!is_known && !doubted(peer)) all.push_back(progress);
    }
    std::move(next, group.end(), std::back_inserter(all));
    return all;
}

Step GroupCensus::step(const std::function<bool(const PeerId&)>& doubted) const {
    std::vector<Step> training, all;
    for (const auto& [peer, progress] : sample_) {
        if (progress.role == Role::auxiliary || doubted(peer)) continue;
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
