#include "shoal/collective/stall_watch.h"

#include <algorithm>
#include <utility>

namespace shoal::collective {
namespace {

constexpr int kGapFactor = 4;
constexpr int kHardLimitFactor = 60;
constexpr int kAbsoluteLimitFactor = 600;  // whoever else fills our line, for whatever reason

}  // namespace

StallWatch::StallWatch(std::size_t waits, Duration stall_timeout, std::vector<PeerId> peer_of_wait)
    : stall_timeout_(stall_timeout), peers_(std::move(peer_of_wait)), waits_(waits) {}

void StallWatch::begin(std::size_t wait, TimePoint now) {
    Wait& w = waits_[wait];
    w.active = true;
    w.waited = Duration(0);
    w.since = w.moved = now;
}

void StallWatch::end(std::size_t wait, TimePoint now) {
    Wait& w = waits_[wait];
    if (w.active) w.longest_gap = std::max(w.longest_gap, now - w.since);
    w.active = false;
}

void StallWatch::excuse(std::size_t wait, TimePoint now) {
    waits_[wait].moved = now;
}

std::vector<std::size_t> StallWatch::check(TimePoint now, std::span<const net::ConnectionInfo> connections) {
    std::vector<std::size_t> late;
    std::uint64_t received = 0;  // since the last check, on all connections
    for (const net::ConnectionInfo& info : connections) received += info.bytes_received;
    const std::uint64_t fresh = received - std::min(received, last_received_);
    const std::uint64_t work = kBytesThatCount * connections.size();
    last_received_ = received;
    const Duration elapsed = now - std::exchange(last_check_, now);
    for (std::size_t i = 0; i < waits_.size(); ++i) {
        Wait& w = waits_[i];
        std::uint64_t bytes = 0;
        for (const net::ConnectionInfo& info : connections)
            if (info.peer == peers_[i]) bytes += info.bytes_received;
        const std::uint64_t own = bytes - std::min(bytes, w.bytes);
        if (fresh > work || own > kBytesThatCount) w.moved = now;
        w.bytes = bytes;
        if (!w.active) continue;
        if (fresh - std::min(fresh, own) <= work) w.waited += std::min(elapsed, now - w.since);
        const Duration patience = std::max(stall_timeout_, kGapFactor * w.longest_gap);
        const bool too_long = w.waited > kHardLimitFactor * stall_timeout_ ||
                              now - w.since > kAbsoluteLimitFactor * stall_timeout_;
        if (now - w.moved > patience || too_long) late.push_back(i);
    }
    return late;
}

}  // namespace shoal::collective
