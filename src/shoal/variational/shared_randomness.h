// Random choices that all devices make alike without a message: everybody derives the same numbers from the
// seed that they share.
#pragma once

#include <cstdint>
#include <initializer_list>

namespace shoal::variational {

/// What a choice is for; different purposes give independent numbers.
enum class Purpose : std::uint64_t {
    refresh = 1,       ///< whether the reference point moves
    participants = 2,  ///< which devices answer
    batch = 3,         ///< which components a device evaluates
    device_codec = 4,
    server_codec = 5,
};

/// A seed for one choice, e.g. derived_seed(seed, Purpose::batch, {iteration, device}). Equal arguments give
/// equal seeds on every machine, others give unrelated ones.
inline std::uint64_t derived_seed(std::uint64_t seed, Purpose purpose,
                                  std::initializer_list<std::uint64_t> places) {
    // Each word goes through the finaliser of SplitMix64, which mixes every bit into every other one.
    const auto mixed = [](std::uint64_t z) {
        z += 0x9e3779b97f4a7c15U;
        z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9U;
        z = (z ^ z >> 27) * 0x94d049bb133111ebU;
        return z ^ z >> 31;
    };
    std::uint64_t state = mixed(seed) ^ static_cast<std::uint64_t>(purpose);
    for (const std::uint64_t place : places) state = mixed(state) ^ place;
    return mixed(state);
}

}  // namespace shoal::variational
