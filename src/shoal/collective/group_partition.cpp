#include "shoal/collective/group_partition.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <vector>

#include "shoal/base/hash.h"

namespace shoal::collective {

namespace {

constexpr double kTolerated = 1.7;  // above the square root of two, at which the nearest power of two changes
constexpr double kCounted = 0.1;
constexpr std::uint64_t kPartitionSeed = 0x6d6f7368, kCensusSeed = 0x63656e73;

/// A size that can be worked with.
double plausible(double peers) {
    return std::isfinite(peers) ? std::clamp(peers, 1.0, kLargestSwarm) : 1.0;
}

}  // namespace

std::uint32_t number_of_groups(double peers, std::size_t group_size, std::uint32_t before) {
    const double wanted = plausible(peers) / static_cast<double>(std::max<std::size_t>(1, group_size));
    if (before > 0 && wanted < kTolerated * before && wanted * kTolerated > before) return before;
    if (wanted <= 1) return 1;
    const auto power = static_cast<unsigned>(std::lround(std::log2(wanted)));
    return std::min(std::uint32_t{1} << std::min(power, 31U), kMostGroups);
}

std::uint32_t group_of(const PeerId& peer, Step step, std::uint32_t groups) {
    const auto seed = kPartitionSeed + (static_cast<std::uint64_t>(value(step)) << 32U);
    return static_cast<std::uint32_t>(fingerprint(peer.bytes(), seed).low) & (groups - 1);
}

unsigned census_level(const PeerId& peer) {
    const auto zeros = static_cast<unsigned>(std::countl_zero(fingerprint(peer.bytes(), kCensusSeed).low));
    return std::min(zeros, kCensusLevels - 1);
}

double size_by_census(std::size_t seen, unsigned level) {
    return std::ldexp(static_cast<double>(seen), static_cast<int>(level));
}

double next_size_estimate(double own, std::span<const double> claims, std::size_t members,
                          std::uint32_t groups) {
    std::vector<double> all{plausible(own)};
    for (const double claim : claims)
        if (claim >= 1) all.push_back(plausible(claim));
    const auto middle = all.begin() + static_cast<std::ptrdiff_t>(all.size() / 2);
    std::nth_element(all.begin(), middle, all.end());
    const double counted = static_cast<double>(members) * groups;
    return plausible((1 - kCounted) * *middle + kCounted * counted);
}

}  // namespace shoal::collective
