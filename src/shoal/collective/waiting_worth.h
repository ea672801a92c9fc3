// How long it pays to wait for those that are late to a round.
//
// While a round waits, those that are ready compute nothing. So a late peer is worth waiting for as long as
// what it brings is more than what all the ready ones would compute meanwhile. Without this rule one
// volunteer whose micro-batch takes ten steps holds up everybody, each time.
//
// Pure functions, for any thread.
#pragma once

#include <cstddef>
#include <span>

namespace shoal::collective {

/// Somebody who is expected and not ready yet.
struct LatePeer {
    double seconds = 0;  ///< until it will probably be ready, from the moment when the batch was full
    double samples = 0;  ///< that it brings
};

/// Who is left out loses its samples, and about as much again until it has caught up.
inline constexpr double kLossOfTheLeftOut = 2;

/// Seconds from the moment when the batch was full, after which the round should begin without those that are
/// still missing: that of the last peer worth waiting for, chosen so that the samples kept less those not
/// computed are the most. 0 if nobody is worth it.
/// @param late  in any order
/// @param ready_samples_per_second  of those that are ready, together. Who comes while the round waits is
/// idle, too:
///        its speed is taken to be its samples over `batch_seconds`.
/// @param batch_seconds  that the batch took to fill
double worthwhile_wait(std::span<const LatePeer> late, double ready_samples_per_second, double batch_seconds);

}  // namespace shoal::collective
