#include "shoal/data/permutation.h"

#include <algorithm>
#include <bit>

namespace shoal::data {

Permutation::Permutation(std::uint64_t size, std::uint64_t key)
    : size_(size),
      key_(key),
      half_bits_(std::max(1U, (static_cast<unsigned>(std::bit_width(size - 1)) + 1) / 2)) {}

std::uint64_t Permutation::operator()(std::uint64_t index) const {
    const std::uint64_t mask = (std::uint64_t{1} << half_bits_) - 1;
    std::uint64_t place = index;
    do {
        std::uint64_t left = place >> half_bits_, right = place & mask;
        for (std::uint64_t round = 0; round < 4; ++round) {
            const std::uint64_t next = left ^ (mix(key_ + round, right) & mask);
            left = right;
            right = next;
        }
        place = left << half_bits_ | right;
    } while (place >= size_);
    return place;
}

}  // namespace shoal::data
