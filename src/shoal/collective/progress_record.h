// A progress record on the wire: encoding, and the checks that every record of another peer passes first.
#pragma once

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
