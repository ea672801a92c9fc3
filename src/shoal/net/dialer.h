// Dialling: several addresses, each with its own fate, the first link wins.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "shoal/base/async.h"
#include "shoal/net/link.h"

namespace shoal::net {

/// Tries the addresses one after the other, the next one when the last has failed or has not answered within
/// a quarter of a second; the first link wins and the other attempts are dropped.
/// Throws Error with each address and its cause (refused by the machine, timed out, no Shoal peer, another
/// version or run, another peer): kind refused or timed_out if all ended so, otherwise unreachable.
/// @param expected  whom to reach, if known.
/// @param timeout   of one attempt, handshakes included.
awaitable<Link> dial_first(std::shared_ptr<LinkContext> context, Clock& clock,
                           std::vector<Endpoint> endpoints, std::optional<PeerId> expected, Duration timeout);

}  // namespace shoal::net
