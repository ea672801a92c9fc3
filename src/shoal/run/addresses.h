// The directory record that says where a peer can be dialled.
#pragma once

#include <string>
#include <vector>

#include "shoal/base/bytes.h"
#include "shoal/base/identity.h"
#include "shoal/net/network.h"

namespace shoal::run {

/// The key of a peer's own record.
std::string address_key(const PeerId& peer);

/// "host:port" lines, as many of the first ones as fit a record.
Bytes encode_addresses(const std::vector<net::Endpoint>& endpoints);

/// The reverse, of a record that may come from anybody: lines that are no address, or of port 0, are left
/// out, and no more than 16 are read.
std::vector<net::Endpoint> decode_addresses(ByteView value);

}  // namespace shoal::run
