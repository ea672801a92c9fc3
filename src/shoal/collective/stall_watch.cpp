#include "shoal/collective/stall_watch.h"

#include <algorithm>

namespace shoal::collective {
namespace {

/// Less than this between two checks is keep-alive, not work.
constexpr std::uint64_t kBytesThatCount = 1024;
/// More than this between two checks, on all connections together, and this peer's own line may be what
/// delays the rest.
constexpr std::uint64_t kBytesOfABusyLine = 16 * 1024;
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

void StallWatch::excuse(std::size_t wait, TimePoint now) {
    waits_[wait].moved = now;
}

std::vector<std::size_t> StallWatch::check(TimePoint now, std::span<const net::ConnectionInfo> connections) {
    std::vector<std::size_t> late;
    std::uint64_t received = 0;  // since the last check, on all connections
    for (const net::ConnectionInfo& info : connections) received += info.bytes_received;
    const bool busy = received > last_received_ + kBytesOfABusyLine;
    last_received_ = received;
    for (std::size_t i = 0; i < waits_.size(); ++i) {
        Wait& w = waits_[i];
        std::uint64_t bytes = 0;
        for (const net::ConnectionInfo& info : connections)
            if (info.peer == peers_[i]) bytes += info.bytes_received;
        if (busy || bytes > w.bytes + kBytesThatCount) w.moved = now;
        w.bytes = bytes;
        if (!w.active) continue;
        const Duration patience = std::max(stall_timeout_, kGapFactor * w.longest_gap);
        if (now - w.moved > patience || now - w.since > kHardLimitFactor * stall_timeout_) late.push_back(i);
    }
    return late;
}

}  // namespace shoal::collective
