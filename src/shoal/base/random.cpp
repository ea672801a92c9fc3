#include "shoal/base/random.h"

#include <bit>
#include <cassert>
#include <cmath>
#include <numbers>
#include <random>

namespace shoal {
namespace {

/// SplitMix64 (Steele, Lea, Flood 2014): spreads a seed over the state, as the authors of xoshiro advise.
std::uint64_t split_mix(std::uint64_t& state) {
    std::uint64_t z = state += 0x9e3779b97f4a7c15U;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9U;
    z = (z ^ z >> 27) * 0x94d049bb133111ebU;
    return z ^ z >> 31;
}

// Logarithm and cosine of our own: the C library picks other code on other processors, with other last bits.
// These use nothing but sums, products and one quotient, which IEEE 754 fixes.

/// Natural logarithm of x > 0, by 2 atanh((m - 1) / (m + 1)) of the mantissa m in [1/sqrt 2, sqrt 2).
double portable_log(double x) {
    int exponent = 0;
    double mantissa = std::frexp(x, &exponent);
    if (mantissa < 1 / std::numbers::sqrt2) {
        mantissa *= 2;
        --exponent;
    }
    const double s = (mantissa - 1) / (mantissa + 1);
    double sum = 0;
    for (int k = 21; k >= 1; k -= 2) sum = sum * s * s + 1.0 / k;
    return exponent * std::numbers::ln2 + 2 * s * sum;
}

/// Cosine of 2 pi u for u in [0, 1), by its series on the first quarter turn.
double portable_cos_turns(double u) {
    if (u > 0.5) u = 1 - u;  // symmetric around half a turn
    const double sign = u > 0.25 ? -1 : 1;
    if (u > 0.25) u = 0.5 - u;
    const double angle = 2 * std::numbers::pi * u;
    double sum = 0;
    for (int k = 11; k >= 1; --k) sum = (1 + sum) * (-angle * angle / ((2 * k - 1) * (2 * k)));
    return sign * (1 + sum);
}

}  // namespace

Random::Random(std::uint64_t seed) : state_{} {
    for (std::uint64_t& word : state_) word = split_mix(seed);
}

Random Random::from_entropy() {
    std::random_device device;
    const std::uint64_t high = device();
    return Random(high << 32 | device());
}

// xoshiro256** 1.0 (Blackman, Vigna 2018).
std::uint64_t Random::next() {
    const std::uint64_t result = std::rotl(state_[1] * 5, 7) * 9;
    const std::uint64_t shifted = state_[1] << 17;
    state_[2] ^= state_[0];
    state_[3] ^= state_[1];
    state_[1] ^= state_[2];
    state_[0] ^= state_[3];
    state_[2] ^= shifted;
    state_[3] = std::rotl(state_[3], 45);
    return result;
}

std::uint64_t Random::below(std::uint64_t bound) {
    assert(bound > 0);
    // The 2^64 values are not a multiple of bound: those below the remainder would make some results
    // likelier.
    const std::uint64_t remainder = (0 - bound) % bound;
    std::uint64_t value = next();
    while (value < remainder) value = next();
    return value % bound;
}

double Random::uniform() {
    return static_cast<double>(next() >> 11) * 0x1.0p-53;
}

double Random::normal() {
    const double radius = std::sqrt(-2 * portable_log(1 - uniform()));  // 1 - u lies in (0, 1]
    return radius * portable_cos_turns(uniform());
}

}  // namespace shoal
