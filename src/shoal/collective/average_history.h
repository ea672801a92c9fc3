// The averages of the last steps, kept for peers whose download of the state took longer than a step: they
// take the steps that they missed one by one (average_transfer.h).
//
// Thread: the protocol thread.
#pragma once

#include <deque>
#include <memory>
#include <span>

#include "shoal/base/bytes.h"
#include "shoal/base/units.h"

namespace shoal::collective {

/// So many are kept at most, and so many bytes of them: of larger models fewer, or none.
inline constexpr std::size_t kKeptAverages = 16;
inline constexpr std::size_t kKeptAverageBytes = std::size_t{256} << 20;

struct KeptAverage {
    Step from{};           ///< it led from this step to the next
    bool skipped = false;  ///< it was not finite, and nobody applied it: the step counts all the same
    bool half = false;     ///< the bytes are fp16, which holds these floats exactly; else fp32
    Bytes encoded;         ///< empty if it was skipped
};
using KeptAveragePointer = std::shared_ptr<const KeptAverage>;

/// Bytes of an average as it is kept and travels.
std::size_t encoded_average_size(std::size_t elements, bool half);
/// Writes all of `values`. Precondition: encoded_average_size() bytes.
void decode_average(ByteView encoded, bool half, std::span<float> values);

class AverageHistory {
  public:
    explicit AverageHistory(std::size_t most_bytes = kKeptAverageBytes) : most_bytes_(most_bytes) {}

    /// The step has been taken with this average, or skipped. Whatever is kept that does not lead to `from`
    /// is dropped.
    void add(Step from, std::span<const float> average, bool skipped);
    /// Null when it is not kept, or no longer.
    KeptAveragePointer find(Step from) const;
    void clear();

  private:
    void drop_oldest(std::size_t count, std::size_t bytes);
    std::size_t most_bytes_, bytes_ = 0;
    std::deque<KeptAveragePointer> kept_;  ///< ascending, without gaps
};

}  // namespace shoal::collective
