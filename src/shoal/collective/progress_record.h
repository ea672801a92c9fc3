// A progress record on the wire: encoding, and the checks that every record of another peer passes first.
#pragma once

#include <algorithm>
#include <cstdint>

#include "shoal/base/bytes.h"
#include "shoal/collective/progress.h"

namespace shoal::collective {

/// A record as it travels: what the peer says, and its place in the order of all that this peer ever said.
struct ProgressRecord {
    Progress progress;
    std::uint64_t sequence = 0;
    bool goodbye = false;  ///< then only progress.peer, progress.step and sequence mean something
};

/// The sequence numbers of one peer's records: each larger than the last, also after a restart, as long as
/// its clock goes forward.
class RecordNumbers {
  public:
    std::uint64_t next(WallTime now) {
        const auto milliseconds = std::max<std::int64_t>(now.time_since_epoch().count(), 0);
        last_ = std::max(last_ + 1, static_cast<std::uint64_t>(milliseconds) * 1000);
        return last_;
    }

  private:
    std::uint64_t last_ = 0;
};

// What no honest peer exceeds. Larger claims are refused with the whole record.
inline constexpr std::size_t kMaximumNameBytes = 24;
inline constexpr std::int64_t kMaximumStep = std::int64_t{1} << 40;
inline constexpr std::int64_t kMaximumSamples = 1'000'000'000'000;
inline constexpr double kMaximumSamplesPerSecond = 1e9;
inline constexpr double kMaximumMicroBatchSeconds = 1e6;
inline constexpr unsigned kMaximumAttempt = 1'000'000;
inline constexpr double kMaximumSwarmSize = 1e7;

/// At most dht::kMaximumValueBytes. Values that the format does not allow are brought into range (a loss that
/// is not finite becomes 0, a name is cut at a character's boundary), so that a peer never sends what others
/// refuse.
Bytes encode_progress(const ProgressRecord& record);

/// The record of `owner`, whose signature or connection is already proven. Throws Error(protocol_violation)
/// that names the field. Control characters in the name are replaced.
ProgressRecord decode_progress(ByteView bytes, const PeerId& owner);

}  // namespace shoal::collective
