// Signed directory records: how they are made, encoded and checked. Everybody who stores, forwards or reads
// one checks it.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "shoal/base/bytes.h"
#include "shoal/base/clock.h"
#include "shoal/base/identity.h"
#include "shoal/dht/directory.h"

namespace shoal::dht {

/// Where a key lives: the first 20 bytes of a SHA-256 of it, as OpenDHT places things by 160 bits.
struct KeyHash {
    std::array<std::uint8_t, 20> bytes{};
    auto operator<=>(const KeyHash&) const = default;
    static KeyHash of(std::string_view key);
    /// Nothing unless there are exactly 20 bytes.
    static std::optional<KeyHash> from_bytes(ByteView bytes);
};

/// The longest encoding of a record within the bounds of directory.h. Whatever is longer is refused unread.
inline constexpr std::size_t kMaximumRecordBytes = 540;

/// How far the clocks of two peers may differ before one refuses the other's records.
inline constexpr std::chrono::seconds kClockTolerance{30};

/// What is wrong with a record; also counted by cause in the status of a directory.
enum class RecordFault {
    none,
    oversized,      ///< longer than kMaximumRecordBytes, or a part of it beyond its bound
    malformed,      ///< not a canonical DirectoryRecord
    forged,         ///< unsigned, or signed by somebody else, or for another key
    expired,        ///<
    too_far_ahead,  ///< lives longer than kMaximumTimeToLive: a liar, or a clock that is wrong
    stale,          ///< a newer record of the same name is known, or another with the same sequence number
    quota,          ///< too many records of this owner, under this key, or in all
};
std::string_view to_string(RecordFault fault);

struct SignedRecord {
    PublicKey owner{};
    std::string subkey;
    std::uint64_t sequence = 0;
    WallTime expires{};
    Bytes value;
    Signature signature{};

    PeerId owner_id() const { return PeerId::of(owner); }
    bool operator==(const SignedRecord&) const = default;
};

/// Makes a record. Precondition: the parts are within the bounds of directory.h.
SignedRecord sign_record(const Signer& signer, const KeyHash& key, std::string subkey, std::uint64_t sequence,
                         WallTime expires, Bytes value);

Bytes encode_record(const SignedRecord& record);

/// Decodes bytes from a stranger without checking signature and time.
std::optional<SignedRecord> decode_record(ByteView bytes, RecordFault& fault);

/// Checks bounds, time and signature. Cheap causes first; a signature costs about 100 microseconds.
RecordFault check_record(const SignedRecord& record, const KeyHash& key, WallTime now);

/// Decodes and checks. Nothing if there is a fault.
std::optional<SignedRecord> open_record(ByteView bytes, const KeyHash& key, WallTime now, RecordFault& fault);

/// The record as users of a directory see it.
Record to_record(const SignedRecord& signed_record, std::string key);

}  // namespace shoal::dht
