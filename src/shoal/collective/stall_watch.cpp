#include "shoal/collective/stall_watch.h"

#include <algorithm>

namespace shoal::collective {
namespace {

/// Less than this between two checks is keep-alive, not work.
constexpr std::uint64_t kBytesThatCount = 1024;
constexpr int kGapFactor = 4;
constexpr int kHardLimitFactor = 60;

}  // namespace

StallWatch::StallWatch(std::size_t waits, Duration stall_timeout, std::vector<PeerId> peer_of_wait)
    : stall_timeout_(stall_timeout), peers_(std::move(peer_of_wait)), waits_(waits) {}

void StallWatch::begin(std::size_t wait, TimePoint now) {
    Wait& w = waits_[wait];
    w.active = true;
    w.since = w.moved = now;
}

void StallWatch::end(std::size_t wait, TimePoint now) {
    Wait& w = waits_[wait];
    if (w.active) w.longest_gap = std::max(w.longest_gap, now - w.since);
    w.active = false;
}

void StallWatch::excuse(std::size_t wait, TimePoint now) { waits_[wait].moved = now; }

std::vector<std::size_t> StallWatch::check(TimePoint now, std::span<const net::ConnectionInfo> connections) {
    std::vector<std::size_t> late;
    for (std::size_t i = 0; i < waits_.size(); ++i) {
        Wait& w = waits_[i];
        const auto of_peer = [this, i](const net::ConnectionInfo& info) { return info.peer == peers_[i]; };
        std::uint64_t bytes = 0;
        for (const net::ConnectionInfo& info : connections)
            if (of_peer(info)) bytes += info.bytes_received;
        if (bytes > w.bytes + kBytesThatCount) w.moved = now;
        w.bytes = bytes;
        if (!w.active) continue;
        const Duration patience = std::max(stall_timeout_, kGapFactor * w.longest_gap);
        if (now - w.moved > patience || now - w.since > kHardLimitFactor * stall_timeout_) late.push_back(i);
    }
    return late;
}

}  // namespace shoal::collective
