// What OpenDHT really sends: two of its nodes talk to each other in memory.
#pragma once

#include <vector>

#include "shoal/base/bytes.h"

namespace shoal::dht {

/// Every datagram of a conversation that holds all kinds of requests and answers, an error, and values that
/// come in parts.
std::vector<Bytes> captured_packets();

}  // namespace shoal::dht
