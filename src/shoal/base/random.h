// A small, fast, reproducible generator (xoshiro256**), the same numbers on every machine, unlike std::
// distributions.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <utility>

namespace shoal {

class Random {
  public:
    /// Equal seeds give equal sequences.
    explicit Random(std::uint64_t seed);
    /// A generator seeded from the operating system.
    static Random from_entropy();

    std::uint64_t next();
    /// Uniform in [0, bound); bound > 0. No modulo bias.
    std::uint64_t below(std::uint64_t bound);
    /// Uniform in [0, 1), 53 bits.
    double uniform();
    /// Standard normal (Box-Muller).
    double normal();
    /// An independent generator for a sub-task.
    Random split() { return Random(next()); }

    template <typename T>
    void shuffle(std::span<T> items) {
        for (std::size_t i = items.size(); i > 1; --i) std::swap(items[i - 1], items[below(i)]);
    }

  private:
    std::array<std::uint64_t, 4> state_;
};

}  // namespace shoal
