// Questions that one peer asks another about itself: who it is, its clock, reachability, bandwidth.
// Messages: proto/probe.proto.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "shoal/base/clock.h"
#include "shoal/base/log.h"
#include "shoal/net/network.h"

namespace shoal::run {

/// What a peer answers, as far as it is its own to say.
struct ProbeSettings {
    std::string run;   ///< empty: a meeting point of any run
    std::string name;  ///< for humans
};

/// Answers probes until the token is destroyed. Dials back only the asker's own address, one at a time;
/// bandwidth is measured for one asker at a time and at most 16 MiB each way.
std::shared_ptr<void> serve_probes(net::Network& network, Clock& clock, ProbeSettings settings, Log log);

struct PeerAbout {
    std::string version, run, name;
    std::string seen_address;      ///< ours, as the peer sees it
    double clock_difference = 0;   ///< seconds that the peer's clock is ahead of ours
    double clock_uncertainty = 0;  ///< half of the round trip
};

/// Throws what net::call throws, and Error(protocol_violation).
awaitable<PeerAbout> ask_about(net::Network& network, Clock& clock, PeerId peer, TimePoint deadline);

struct DialBackResult {
    std::string host;
    bool tcp_reached = false;
    std::string tcp_cause;
};

/// Asks a peer to dial us back. @param udp_token  16 bytes that it sends to our udp_port; empty: no UDP.
awaitable<DialBackResult> ask_to_dial_back(net::Network& network, Clock& clock, PeerId peer,
                                           std::uint16_t tcp_port, std::uint16_t udp_port, Bytes udp_token,
                                           TimePoint deadline);

struct Bandwidth {
    double up = 0, down = 0;  ///< bytes per second
};

/// Sends and then fetches as much as fits into about `patience` each (at most 16 MiB, at least 256 KiB).
awaitable<Bandwidth> measure_bandwidth(net::Network& network, Clock& clock, PeerId peer, Duration patience,
                                       TimePoint deadline);

}  // namespace shoal::run
