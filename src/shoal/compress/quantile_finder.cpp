#include <array>
#include <bit>
#include <numeric>

#include "shoal/compress/quantile_kernels.h"

namespace shoal::compress {

namespace {

// Keys order as their floats do: the sign bit is turned round, and all others of negative numbers.
constexpr std::uint32_t kSign = 0x80000000U;

std::uint32_t to_key(float value) {
    const auto bits = std::bit_cast<std::uint32_t>(value);
    return (bits & kSign) != 0 ? ~bits : bits | kSign;
}

float from_key(std::uint32_t key) {
    return std::bit_cast<float>((key & kSign) != 0 ? key & ~kSign : ~key);
}

constexpr unsigned kDigitBits = 11;
constexpr std::size_t kDigits = 3;
constexpr std::size_t kDigitValues = std::size_t{1} << kDigitBits;

std::size_t digit(std::uint32_t key, std::size_t place) {
    return (key >> (place * kDigitBits)) & (kDigitValues - 1);
}

}  // namespace

QuantileFinder::QuantileFinder() : keys_(kQuantileBlock), space_(kQuantileBlock) {}

/// Leaves the sorted keys in keys_.
void QuantileFinder::sort(std::span<const float> values) {
    std::array<std::array<std::uint32_t, kDigitValues>, kDigits> places{};
    for (std::size_t i = 0; i < values.size(); ++i) {
        keys_[i] = to_key(values[i]);
        for (std::size_t place = 0; place < kDigits; ++place) ++places[place][digit(keys_[i], place)];
    }
    for (std::size_t place = 0; place < kDigits; ++place) {
        auto& starts = places[place];
        std::exclusive_scan(starts.begin(), starts.end(), starts.begin(), 0U);
        for (std::size_t i = 0; i < values.size(); ++i) space_[starts[digit(keys_[i], place)]++] = keys_[i];
        keys_.swap(space_);
    }
}

void QuantileFinder::find(std::span<const float> values, std::span<float> codebook) {
    sort(values);
    for (std::size_t group = 0; group < codebook.size(); ++group) {
        const std::size_t begin = group * values.size() / codebook.size();
        const std::size_t end = (group + 1) * values.size() / codebook.size();
        // In double the order of additions is fixed, nothing overflows, and a sum of zeros is +0.
        double sum = 0;
        for (std::size_t i = begin; i < end; ++i) sum += static_cast<double>(from_key(keys_[i]));
        codebook[group] = static_cast<float>(sum / static_cast<double>(end - begin)) + 0.0F;
    }
}

}  // namespace shoal::compress
