#include "shoal/compress/counter_random.h"

#include "shoal/base/random.h"

namespace shoal::compress {

CounterKeys counter_keys(std::uint64_t seed) {
    const std::uint64_t bits = Random(seed).next();
    return {static_cast<std::uint32_t>(bits), static_cast<std::uint32_t>(bits >> 32)};
}

std::uint64_t derived_seed(std::uint64_t seed) {
    Random random(seed);
    random.next();
    return random.next();
}

}  // namespace shoal::compress
