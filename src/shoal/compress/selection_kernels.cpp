#include "shoal/compress/selection_kernels.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <vector>

#include "shoal/compress/simd_config.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "shoal/compress/selection_kernels.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "shoal/compress/counter_random-inl.h"

#ifndef SHOAL_KEY_WINDOW
#define SHOAL_KEY_WINDOW
namespace shoal::compress {
namespace {

/// The keys that the wanted one is probably between, and what a pass found there.
struct KeyWindow {
    std::int32_t first = std::numeric_limits<std::int32_t>::min();
    std::int32_t last = std::numeric_limits<std::int32_t>::max();
    std::size_t below = 0, at_first = 0, at_last = 0;  // counts
    std::int32_t* between = nullptr;                   // the keys strictly between first and last
    std::size_t collected = 0, capacity = 0;           // more than the capacity: the pass ended early
};

}  // namespace
}  // namespace shoal::compress
#endif

HWY_BEFORE_NAMESPACE();
namespace shoal::compress {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

/// The keys of Top-k: all bits of the magnitude, inverted.
class MagnitudeKeys {
  public:
    explicit MagnitudeKeys(const float* values) : values_(values) {}

    template <class DI>
    HWY_INLINE hn::Vec<DI> at(DI di, std::size_t position) const {
        const hn::RebindToFloat<DI> d;
        return hn::AndNot(hn::BitCast(di, hn::LoadU(d, values_ + position)), hn::Set(di, 0x7FFFFFFF));
    }

  private:
    const float* values_;
};

/// The keys of the random codecs.
class LotKeys {
  public:
    explicit LotKeys(CounterKeys keys) : keys_(keys) {}

    template <class DI>
    HWY_INLINE hn::Vec<DI> at(DI di, std::size_t position) const {
        const hn::RebindToUnsigned<DI> du;
        const CounterNumbers<decltype(du)> numbers(keys_);
        return hn::BitCast(di, numbers(hn::Iota(du, static_cast<std::uint32_t>(position))));
    }

  private:
    CounterKeys keys_;
};

/// Counts per lane; a mask that is true adds one.
template <class DI>
HWY_INLINE void add_where(DI di, hn::Vec<DI>& counts, hn::Mask<DI> where) {
    counts = hn::Sub(counts, hn::VecFromMask(di, where));  // a true mask is -1
}

template <class DI>
HWY_INLINE std::size_t sum_of_lanes(DI di, hn::Vec<DI> counts) {
    HWY_ALIGN std::int32_t lanes[hn::MaxLanes(di)];
    hn::Store(counts, di, lanes);
    std::size_t sum = 0;
    for (std::size_t i = 0; i < hn::Lanes(di); ++i) sum += static_cast<std::uint32_t>(lanes[i]);
    return sum;
}

template <class Keys, class DI>
HWY_INLINE std::size_t search_vectors(DI di, const Keys& keys, std::size_t begin, std::size_t count,
                                      KeyWindow& window) {
    const std::size_t lanes = hn::Lanes(di);
    const auto first = hn::Set(di, window.first), last = hn::Set(di, window.last);
    auto below = hn::Zero(di), at_first = hn::Zero(di), at_last = hn::Zero(di);
    std::int32_t* const collection = window.between;
    std::size_t collected = window.collected;
    for (; begin + lanes <= count && collected <= window.capacity; begin += lanes) {
        const auto key = keys.at(di, begin);
        add_where(di, below, hn::Lt(key, first));
        add_where(di, at_first, hn::Eq(key, first));
        add_where(di, at_last, hn::Eq(key, last));
        const auto between = hn::And(hn::Gt(key, first), hn::Lt(key, last));
        hn::StoreU(hn::Compress(key, between), di, collection + collected);
        collected += hn::CountTrue(di, between);
    }
    window.collected = collected;
    window.below += sum_of_lanes(di, below);
    window.at_first += sum_of_lanes(di, at_first);
    window.at_last += sum_of_lanes(di, at_last);
    return begin;
}

template <class Keys>
HWY_INLINE void search_window(const Keys& keys, std::size_t count, KeyWindow& window) {
    const std::size_t begin = search_vectors(hn::ScalableTag<std::int32_t>(), keys, 0, count, window);
    search_vectors(hn::CappedTag<std::int32_t, 1>(), keys, begin, count, window);
}

template <class Keys, class DI>
HWY_INLINE std::size_t keep_vectors(DI di, const Keys& keys, std::size_t begin, std::size_t end,
                                    KeptKeys& kept, std::uint32_t* positions, std::size_t& written) {
    const hn::RebindToUnsigned<DI> du;
    const std::size_t lanes = hn::Lanes(di);
    const auto lowest = hn::Set(di, kept.lowest), border = hn::Set(di, kept.border);
    for (; begin + lanes <= end; begin += lanes) {
        const auto key = keys.at(di, begin);
        auto mask = hn::AndNot(hn::Lt(key, lowest), hn::Lt(key, border));
        if (kept.ties > 0) {
            auto tied = hn::Eq(key, border);
            if (!hn::AllFalse(di, tied)) {
                std::size_t ties = hn::CountTrue(di, tied);
                // The first ones only: lanes are in the order of positions.
                for (std::size_t upto = lanes; ties > kept.ties; --upto) {
                    tied = hn::And(tied, hn::FirstN(di, upto - 1));
                    ties = hn::CountTrue(di, tied);
                }
                kept.ties -= ties;
                mask = hn::Or(mask, tied);
            }
        }
        const auto numbers = hn::Iota(du, static_cast<std::uint32_t>(begin));
        hn::StoreU(hn::Compress(numbers, hn::RebindMask(du, mask)), du, positions + written);
        written += hn::CountTrue(di, mask);
    }
    return begin;
}

template <class Keys>
HWY_INLINE std::size_t keep_all(const Keys& keys, std::size_t begin, std::size_t count, KeptKeys& kept,
                                std::uint32_t* positions) {
    std::size_t written = 0;
    const std::size_t end = begin + count;
    begin = keep_vectors(hn::ScalableTag<std::int32_t>(), keys, begin, end, kept, positions, written);
    keep_vectors(hn::CappedTag<std::int32_t, 1>(), keys, begin, end, kept, positions, written);
    return written;
}

void search_magnitudes_kernel(const float* values, std::size_t count, KeyWindow& window) {
    search_window(MagnitudeKeys(values), count, window);
}
void search_lots_kernel(CounterKeys keys, std::size_t count, KeyWindow& window) {
    search_window(LotKeys(keys), count, window);
}
std::size_t keep_magnitudes_kernel(const float* values, std::size_t begin, std::size_t count, KeptKeys& kept,
                                   std::uint32_t* positions) {
    return keep_all(MagnitudeKeys(values), begin, count, kept, positions);
}
std::size_t keep_lots_kernel(CounterKeys keys, std::size_t begin, std::size_t count, KeptKeys& kept,
                             std::uint32_t* positions) {
    return keep_all(LotKeys(keys), begin, count, kept, positions);
}

}  // namespace HWY_NAMESPACE
}  // namespace shoal::compress
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace shoal::compress {

HWY_EXPORT(search_magnitudes_kernel);
HWY_EXPORT(search_lots_kernel);
HWY_EXPORT(keep_magnitudes_kernel);
HWY_EXPORT(keep_lots_kernel);

namespace {

/// Up to so many positions, all keys are collected.
constexpr std::size_t kFew = 2048;
/// A sample is taken in runs, each a line of the cache.
constexpr std::size_t kRun = 16, kMaximumRuns = 4096;
/// Standard deviations from the expected rank to the ends of the window.
constexpr double kDeviations = 8;

std::int32_t magnitude_key(float value) {
    std::int32_t bits;
    std::memcpy(&bits, &value, sizeof(bits));
    return ~bits & 0x7FFFFFFF;
}

/// Standard deviation of the rank, among `draws`, of the key whose share of all keys is `share`.
double deviation_of(std::size_t draws, double share) {
    return std::sqrt(static_cast<double>(draws) * share * (1 - share));
}

/// With the rank of the key among those of the window.
std::int32_t nth_between(KeyWindow& window, std::size_t rank) {
    std::nth_element(window.between, window.between + rank, window.between + window.collected);
    return window.between[rank];
}

/// The key of the rank, if the window that was searched has it.
bool found_in(KeyWindow& window, std::size_t rank, RankedKey& result) {
    if (window.collected > window.capacity || rank < window.below) return false;
    std::size_t smaller = window.below;
    if (rank < smaller + window.at_first) {
        result = {window.first, smaller};
        return true;
    }
    smaller += window.at_first;
    if (rank < smaller + window.collected) {
        const std::int32_t key = nth_between(window, rank - smaller);
        for (std::size_t i = 0; i < window.collected; ++i) smaller += window.between[i] < key ? 1 : 0;
        result = {key, smaller};
        return true;
    }
    if (window.first == window.last) return false;
    smaller += window.collected;
    result = {window.last, smaller};
    return rank < smaller + window.at_last;
}

/// The certain way: counts the upper halves of all keys, then the lower halves of those that share the upper
/// half of the wanted one.
template <typename KeyAt>
RankedKey find_by_counting(std::size_t count, std::size_t rank, KeyAt key_at) {
    std::vector<std::uint32_t> counts(1 << 16);
    std::size_t smaller = 0;
    const auto half_of_rank = [&]() {
        std::uint32_t half = 0;
        for (; rank >= smaller + counts[half]; ++half) smaller += counts[half];
        return half;
    };
    // As unsigned numbers in the same order.
    const auto ordered = [&](std::size_t i) { return static_cast<std::uint32_t>(key_at(i)) ^ 0x80000000U; };
    for (std::size_t i = 0; i < count; ++i) ++counts[ordered(i) >> 16];
    const std::uint32_t upper = half_of_rank();
    std::fill(counts.begin(), counts.end(), 0U);
    for (std::size_t i = 0; i < count; ++i) {
        const std::uint32_t key = ordered(i);
        if (key >> 16 == upper) ++counts[key & 0xFFFF];
    }
    const std::uint32_t lower = half_of_rank();
    return {static_cast<std::int32_t>((upper << 16 | lower) ^ 0x80000000U), smaller};
}

/// Searches the window with `search`, and counts if that does not find the rank.
template <typename Search, typename KeyAt>
RankedKey find_rank(KeyWindow window, std::size_t count, std::size_t rank, Search search, KeyAt key_at) {
    const auto space =
        std::make_unique_for_overwrite<std::int32_t[]>(window.capacity + 1 + 2 * kPositionSlack);
    window.between = space.get();
    search(window);
    RankedKey result{};
    if (found_in(window, rank, result)) return result;
    return find_by_counting(count, rank, key_at);
}

KeyWindow window_of_sample(const float* values, std::size_t count, std::size_t rank) {
    KeyWindow window;
    window.capacity = count;
    if (count <= kFew) return window;
    const std::size_t runs = std::min(kMaximumRuns, count / (16 * kRun));
    std::vector<std::int32_t> sample;
    sample.reserve(runs * kRun);
    for (std::size_t run = 0; run < runs; ++run) {
        const std::size_t begin = count / runs * run;
        for (std::size_t i = begin; i < begin + kRun; ++i) sample.push_back(magnitude_key(values[i]));
    }
    const double share = static_cast<double>(rank) / static_cast<double>(count);
    const double middle = share * static_cast<double>(sample.size());
    const double reach = kDeviations * deviation_of(sample.size(), share) + 2;
    const auto all = static_cast<double>(sample.size());
    if (const double first = std::floor(middle - reach); first >= 0) {
        const auto place = sample.begin() + static_cast<std::ptrdiff_t>(first);
        std::nth_element(sample.begin(), place, sample.end());
        window.first = *place;
    }
    if (const double last = std::ceil(middle + reach); last < all) {
        const auto place = sample.begin() + static_cast<std::ptrdiff_t>(last);
        std::nth_element(sample.begin(), place, sample.end());
        window.last = *place;
    }
    const double expected = 2 * reach / all * static_cast<double>(count);
    window.capacity = std::min(count, static_cast<std::size_t>(2 * expected) + kFew);
    return window;
}

KeyWindow window_of_lots(std::size_t count, std::size_t rank) {
    KeyWindow window;
    window.capacity = count;
    if (count <= kFew) return window;
    const double share = static_cast<double>(rank) / static_cast<double>(count);
    const double reach = kDeviations * deviation_of(count, share) + 2;
    const double step = 0x1p32 / static_cast<double>(count);
    const double middle = -0x1p31 + 0x1p32 * share;
    window.first = static_cast<std::int32_t>(std::max(middle - reach * step, -0x1p31));
    window.last = static_cast<std::int32_t>(std::min(middle + reach * step, 0x1p31 - 1));
    window.capacity = std::min(count, static_cast<std::size_t>(4 * reach) + kFew);
    return window;
}

}  // namespace

RankedKey find_magnitude_rank(const float* values, std::size_t count, std::size_t rank) {
    return find_rank(
        window_of_sample(values, count, rank), count, rank,
        [&](KeyWindow& window) { HWY_DYNAMIC_DISPATCH(search_magnitudes_kernel)(values, count, window); },
        [&](std::size_t i) { return magnitude_key(values[i]); });
}

RankedKey find_lot_rank(CounterKeys keys, std::size_t count, std::size_t rank) {
    return find_rank(
        window_of_lots(count, rank), count, rank,
        [&](KeyWindow& window) { HWY_DYNAMIC_DISPATCH(search_lots_kernel)(keys, count, window); },
        [&](std::size_t i) {
            return static_cast<std::int32_t>(counter_number(keys, static_cast<std::uint32_t>(i)));
        });
}

std::size_t keep_magnitudes(const float* values, std::size_t begin, std::size_t count, KeptKeys& kept,
                            std::uint32_t* positions) {
    return HWY_DYNAMIC_DISPATCH(keep_magnitudes_kernel)(values, begin, count, kept, positions);
}

std::size_t keep_lots(CounterKeys keys, std::size_t begin, std::size_t count, KeptKeys& kept,
                      std::uint32_t* positions) {
    return HWY_DYNAMIC_DISPATCH(keep_lots_kernel)(keys, begin, count, kept, positions);
}

}  // namespace shoal::compress
#endif
