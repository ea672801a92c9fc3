// Averages of the last steps on their way to a peer that takes these steps after the others. They are asked
// for piece by piece, and nothing is kept for anybody between two pieces. What the receiver makes of them is
// checked by whom it believes (trainer_replay.cpp): an average itself proves nothing.
//
// Thread: the protocol thread.
#pragma once

#include <memory>
#include <string>

#include "shoal/base/clock.h"
#include "shoal/collective/average_history.h"
#include "shoal/net/network.h"

namespace shoal::collective {

/// Of the pieces of an average, all but the last have exactly this size.
inline constexpr std::size_t kAveragePieceBytes = 128 * 1024;
inline constexpr Duration kPieceSlack = std::chrono::milliseconds(1500);

/// How often a peer may have an average, counted in pieces: a broken connection costs what it had.
inline constexpr std::size_t kTimesOfOnePeer = 2;
/// So many peers may have an average of us; the others ask elsewhere.
inline constexpr std::size_t kTakersOfOneAverage = 64;

/// Answers others from the history until the network ends or stop_serving_averages() is called.
void serve_averages(net::Network& network, Clock& clock, const std::string& run,
                    std::shared_ptr<const AverageHistory> history);
void stop_serving_averages(net::Network& network, const std::string& run);

/// Fetches the average that led from `from` to the next step.
/// @param elements       of the vector
/// @param patience  for all of it; each piece has the time that it takes on the slowest line (donor_watch.h),
///                  and kPieceSlack, at most
/// Throws Error(refused) if the donor does not have it or has given it often enough, Error(timed_out), or
/// Error(protocol_violation) if it sends anything else than an average of so many elements.
awaitable<KeptAverage> fetch_average(net::Network& network, Clock& clock, std::string run, PeerId donor,
                                     Step from, std::size_t elements, Duration patience);

}  // namespace shoal::collective
