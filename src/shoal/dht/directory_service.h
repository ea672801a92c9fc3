// Lends a directory to connected peers that have none of their own, because UDP does not get through to them.
// The messages are in proto/dht.proto; the other side is remote_directory.h.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>

#include "shoal/dht/signed_directory.h"
#include "shoal/net/network.h"

namespace shoal::dht {

/// What one client may ask for, and all of them together. Beyond that it is refused.
struct ServiceLimits {
    std::size_t records_per_client = 256;  ///< live ones that were published through us
    std::size_t watches_per_client = 64;
    std::size_t watches = 4096;
    double calls_per_second = 50;  ///< publishes and reads of one client, on average
    double calls_at_once = 200;    ///< and in a burst
};

/// Serves the directory until the token is destroyed. A client can publish records of its own only; they are
/// checked here and by everybody further on, and stay in the directory until they expire.
/// @param neighbours  how many nodes the directory hears from; clients prefer who hears from many.
/// Thread: the one of the network and of the directory.
[[nodiscard]] std::shared_ptr<void> serve_directory(std::shared_ptr<net::Network> network, Clock& clock,
                                                    std::shared_ptr<SignedDirectory> directory,
                                                    std::function<std::size_t()> neighbours,
                                                    ServiceLimits limits = {});

}  // namespace shoal::dht
