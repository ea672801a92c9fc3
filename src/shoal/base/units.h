// Strong types for what is counted, so that a step is never passed for a number of samples.
#pragma once

#include <compare>
#include <cstdint>

namespace shoal {

/// The global optimizer step: how many times the whole swarm has stepped. The schedule is a function of it
/// alone.
enum class Step : std::int64_t {};
constexpr std::int64_t value(Step step) {
    return static_cast<std::int64_t>(step);
}
constexpr Step next(Step step) {
    return static_cast<Step>(value(step) + 1);
}

/// A number of training samples.
enum class Samples : std::int64_t {};
constexpr std::int64_t value(Samples samples) {
    return static_cast<std::int64_t>(samples);
}
constexpr Samples operator+(Samples a, Samples b) {
    return static_cast<Samples>(value(a) + value(b));
}
constexpr Samples& operator+=(Samples& a, Samples b) {
    return a = a + b;
}

}  // namespace shoal
