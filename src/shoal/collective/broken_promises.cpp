#include "shoal/collective/broken_promises.h"

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace shoal::collective {

namespace {

// One is forgiven after a while, so that a peer whose machine was busy finds back, and one that does this on
// purpose gains little.
constexpr Duration kForgiveness = std::chrono::minutes(5);

}  // namespace

unsigned BrokenPromises::count(const PeerId& peer, TimePoint now) const {
    const auto found = all_.find(peer);
    if (found == all_.end()) return 0;
    const auto forgiven = (now - found->second.last) / kForgiveness;
    return found->second.count - static_cast<unsigned>(std::min<std::int64_t>(forgiven, found->second.count));
}

double BrokenPromises::trust(const PeerId& peer, TimePoint now) const {
    return std::ldexp(1.0, -static_cast<int>(count(peer, now)));
}

void BrokenPromises::broke(const PeerId& peer, TimePoint now) {
    const unsigned before = count(peer, now);
    if (before == 0) make_room(now);
    all_[peer] = {std::min(before + 1, kMost), now};
}

void BrokenPromises::kept(const PeerId& peer, TimePoint now) {
    const unsigned before = count(peer, now);
    if (before > 1)
        all_[peer] = {before - 1, now};
    else
        all_.erase(peer);
}

void BrokenPromises::sweep(TimePoint now) {
    std::erase_if(all_, [&](const auto& of) { return count(of.first, now) == 0; });
}

void BrokenPromises::make_room(TimePoint now) {
    if (all_.size() < kMaximumPeers) return;
    sweep(now);
    if (all_.size() < kMaximumPeers) return;
    all_.erase(std::min_element(all_.begin(), all_.end(),
                                [](const auto& a, const auto& b) { return a.second.last < b.second.last; }));
}

}  // namespace shoal::collective
