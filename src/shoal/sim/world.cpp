#include "shoal/sim/world.h"

namespace shoal::sim {

Peer World::add_peer(HostSettings host) {
    const std::uint64_t number = ++peers_;
    std::array<std::uint8_t, 32> seed{};
    for (std::size_t i = 0; i < sizeof number; ++i) seed[i] = static_cast<std::uint8_t>(number >> (8 * i));
    return restart(KeyPair::from_seed(seed), host);
}

Peer World::restart(const KeyPair& key, HostSettings host) {
    const PeerId id = key.peer_id();
    auto network = internet_.join(id, host);
    return Peer{
        key, id, &internet_.clock(id), std::move(network), directory_.join(id), simulation_.random().split()};
}

}  // namespace shoal::sim
