#include "shoal/sim/group_spread.h"

namespace shoal::sim {

void GroupSpread::Sums::add(std::span<const float> values) {
    sum.resize(values.size());
    squares.resize(values.size());
    for (std::size_t i = 0; i < values.size(); ++i) {
        const double value = values[i];
        sum[i] += value;
        squares[i] += value * value;
    }
}

double GroupSpread::Sums::variance(std::size_t peers) const {
    const auto n = static_cast<double>(peers);
    double all = 0;
    for (std::size_t i = 0; i < sum.size(); ++i) all += (squares[i] - sum[i] * sum[i] / n) / (n - 1);
    return all;
}

void GroupSpread::add(Step from, std::span<const float> own, std::span<const float> mean, bool counts) {
    OfStep& step = steps_[from];
    ++step.peers;
    step.before.add(own);
    step.after.add(mean);
    if (!counts) return;
    ++step.counted;
    step.counted_before.add(own);
}

GroupSpread::Variance GroupSpread::of(Step from) const {
    Variance result;
    const auto found = steps_.find(from);
    if (found == steps_.end()) return result;
    result.peers = found->second.peers;
    if (result.peers < 2) return result;
    result.before = found->second.before.variance(result.peers);
    result.after = found->second.after.variance(result.peers);
    result.counted = found->second.counted;
    if (result.counted > 1) result.counted_before = found->second.counted_before.variance(result.counted);
    return result;
}

double variance_left(std::size_t peers, double groups) {
    return peers > 1 ? (groups - 1) / (static_cast<double>(peers) - 1) : 0;
}

}  // namespace shoal::sim
