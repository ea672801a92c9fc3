// Whether a datagram may be handed to OpenDHT. Internal to dht/.
//
// OpenDHT 2.4 takes a stranger's packet on trust in several places: an array or a map that announces 2^32
// elements makes it ask for 256 GiB, a value that comes in parts is unpacked without a look at its lengths,
// an argument that is no map is read as one (beyond its end), and an empty list of fields divides by zero. So
// we look first, and let through only what OpenDHT itself would send, and of values only such as can hold our
// records.
#pragma once

#include "shoal/base/bytes.h"

namespace shoal::dht {

enum class PacketKind {
    refused,
    ping,     ///< a request that asks for nothing but an answer
    request,  ///< any other request: an answer is expected
    answer,   ///< to a request, errors included, and updates to a listener
    part,     ///< a value that did not fit the packet before
};

/// A value is at most this long: a record and what OpenDHT puts around it. So each fits one packet.
inline constexpr std::size_t kMaximumPackedValue = 640;

/// Costs about as much as a copy of the datagram, and allocates nothing.
PacketKind check_packet(ByteView datagram);

}  // namespace shoal::dht
