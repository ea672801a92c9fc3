#include "shoal/collective/group_measures.h"

#include <algorithm>
#include <vector>

#include "shoal/collective/group_partition.h"

namespace shoal::collective {

using namespace std::chrono_literals;

namespace {

/// The number that most say; where several are said as often, `own` if it is among them, or else the
/// smallest; 0 if there is none.
std::uint32_t most_frequent(const std::map<std::uint32_t, std::size_t>& votes, std::uint32_t own) {
    const auto said = votes.find(own);
    std::uint32_t groups = own > 0 && said != votes.end() ? own : 0;
    std::size_t most = groups > 0 ? said->second : 0;
    for (const auto& [number, count] : votes)
        if (number > 0 && count > most) groups = number, most = count;
    return groups;
}

}  // namespace

void GroupMeasures::set_groups(const std::map<PeerId, Progress>& sample) {
    std::map<std::uint32_t, std::size_t> votes;
    for (const auto& [peer, progress] : sample) ++votes[progress.groups];
    groups_ = most_frequent(votes, 0);
}

/// Peers whose own estimates lie on both sides of a limit must not draw different groups for long: what most
/// members say counts, and each holds it against its own estimate again (number_of_groups).
void GroupMeasures::learn_size(const StepGroup& group, std::optional<double> by_census,
                               const std::function<bool(const PeerId&)>& doubted) {
    std::vector<double> claims;
    std::map<std::uint32_t, std::size_t> votes{{group.groups, 1}};
    std::size_t members = 1 + group.gone.size();
    for (const Progress& peer : group.book.peers()) {
        if (peer.peer == group.book.own().peer || doubted(peer.peer)) continue;
        claims.push_back(peer.swarm_size);
        ++votes[peer.groups];
        ++members;
    }
    groups_ = most_frequent(votes, group.groups);
    if (by_census) claims.push_back(*by_census);
    size_ = next_size_estimate(size_, claims, members, group.groups);
}

/// If all in the swarm were as fast as these, on average.
double GroupMeasures::seconds_by_speeds(const StepGroup& group, Samples whole_batch) const {
    double speed = 0;
    const std::vector<Progress> members = group.book.peers();
    for (const Progress& peer : members) speed += peer.samples_per_second;
    const double of_all = speed / static_cast<double>(members.size()) * size_;
    return of_all > 0 ? static_cast<double>(value(whole_batch)) / of_all : kLongestPromise;
}

void GroupMeasures::learn_pace(const StepGroup& group, Samples whole_batch, TimePoint begin, TimePoint end) {
    constexpr double kShortest = 0.05;  // of our micro-batch: it was full before we came
    constexpr double kNew = 0.3;
    TimePoint full = std::min(group.book.full_since().value_or(end), end);
    if (const auto longest = longest_batch()) full = std::min(full, begin + *longest);
    double took = seconds(full - begin);
    // A run's first step takes long where some are slow and nobody knows it yet.
    if (batch_seconds_ == 0) took = std::min(took, seconds_by_speeds(group, whole_batch));
    batch_seconds_ = said_by_most(group);
    if (took <= kShortest * group.book.own().micro_batch_seconds) return;
    batch_seconds_ = batch_seconds_ > 0 ? (1 - kNew) * batch_seconds_ + kNew * took : took;
}

/// The median, with our own: so that all wait for each other by one measure, and a few liars do not matter.
/// Of two it is the shorter one, which a liar could set: but not so much below our own that it would shrink
/// from step to step.
double GroupMeasures::said_by_most(const StepGroup& group) const {
    constexpr double kShorter = 0.9;
    std::vector<double> all;
    if (batch_seconds_ > 0) all.push_back(batch_seconds_);
    for (const Progress& peer : group.book.peers())
        if (peer.peer != group.book.own().peer && peer.batch_seconds > 0) all.push_back(peer.batch_seconds);
    if (all.empty()) return 0;
    const auto middle = all.begin() + static_cast<std::ptrdiff_t>((all.size() - 1) / 2);
    std::nth_element(all.begin(), middle, all.end());
    return all.size() == 2 ? std::max(*middle, kShorter * batch_seconds_) : *middle;
}

std::optional<Duration> GroupMeasures::longest_batch() const {
    constexpr double kSlower = 1.25;
    if (batch_seconds_ == 0) return std::nullopt;
    return from_seconds(kSlower * batch_seconds_);
}

Duration GroupMeasures::longest_wait() const {
    constexpr double kBatches = 2;
    constexpr Duration kSlack = 250ms, kAtFirst = 20s;
    if (batch_seconds_ == 0) return kAtFirst;
    return from_seconds(std::min(kBatches * batch_seconds_, kLongestPromise)) + kSlack;
}

bool GroupMeasures::is_thin(const ProgressSettings& settings, std::size_t members) const {
    const double usual = std::min(static_cast<double>(settings.group_size), size_);
    return 2 * static_cast<double>(members) < usual;
}

double GroupMeasures::part_of_the_batch(const ProgressSettings& settings, std::size_t members) const {
    const auto counted = static_cast<double>(std::max(members, settings.group_size));
    const auto all = static_cast<double>(value(settings.target_batch_size));
    return all * std::min(1.0, counted / std::max(1.0, size_));
}

}  // namespace shoal::collective
