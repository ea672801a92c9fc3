// Bytes as a broken or hostile machine sends them: nearly right.
#pragma once

#include <cstddef>
#include <utility>

#include "shoal/base/bytes.h"
#include "shoal/base/random.h"

namespace shoal::collective {

/// One to four small changes: a bit, a byte, a byte less, a byte twice.
inline Bytes mutated(Random& random, Bytes bytes) {
    for (std::uint64_t k = 1 + random.below(4); k > 0 && !bytes.empty(); --k) {
        const std::size_t at = random.below(bytes.size());
        switch (random.below(4)) {
            case 0:
                bytes[at] ^= static_cast<std::uint8_t>(1u << random.below(8));
                break;
            case 1:
                bytes[at] = static_cast<std::uint8_t>(random.below(256));
                break;
            case 2:
                bytes.erase(bytes.begin() + static_cast<std::ptrdiff_t>(at));
                break;
            default:
                bytes.insert(bytes.begin() + static_cast<std::ptrdiff_t>(at), bytes[at]);
        }
    }
    return bytes;
}

}  // namespace shoal::collective
