// A vector of the numbers of counter_random.h. Included once for each instruction set, by files that Highway
// includes likewise.
#if defined(SHOAL_COUNTER_RANDOM_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef SHOAL_COUNTER_RANDOM_INL_H
#undef SHOAL_COUNTER_RANDOM_INL_H
#else
#define SHOAL_COUNTER_RANDOM_INL_H
#endif

#include <hwy/highway.h>

#include "shoal/compress/counter_random.h"

HWY_BEFORE_NAMESPACE();
namespace shoal::compress {
namespace HWY_NAMESPACE {

template <class DU>
class CounterNumbers {
  public:
    using V = hwy::HWY_NAMESPACE::Vec<DU>;

    explicit HWY_INLINE CounterNumbers(CounterKeys keys)
        : first_(hwy::HWY_NAMESPACE::Set(DU(), keys.first)),
          second_(hwy::HWY_NAMESPACE::Set(DU(), keys.second)) {}

    /// Those of these positions.
    HWY_INLINE V operator()(V positions) const {
        namespace hn = hwy::HWY_NAMESPACE;
        return mixed(hn::Add(mixed(hn::Xor(positions, first_)), second_));
    }

  private:
    static HWY_INLINE V mixed(V x) {
        namespace hn = hwy::HWY_NAMESPACE;
        x = hn::Mul(hn::Xor(x, hn::ShiftRight<kMixShift0>(x)), hn::Set(DU(), kMixFactor0));
        x = hn::Mul(hn::Xor(x, hn::ShiftRight<kMixShift1>(x)), hn::Set(DU(), kMixFactor1));
        return hn::Xor(x, hn::ShiftRight<kMixShift2>(x));
    }

    V first_, second_;
};

}  // namespace HWY_NAMESPACE
}  // namespace shoal::compress
HWY_AFTER_NAMESPACE();

#endif
