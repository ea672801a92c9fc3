// Addresses that are known beforehand: where no directory is needed.
#pragma once

#include <map>

#include "shoal/net/network.h"

namespace shoal::net {

/// For Network::set_resolver: finds each peer where the book has it, and others nowhere.
AddressResolver resolver_of(std::map<PeerId, Endpoint> book);

}  // namespace shoal::net
