#include "shoal/dht/record.h"

#include <algorithm>
#include <shoal/proto/dht.pb.h>

namespace shoal::dht {

namespace {

// These stand before everything that is hashed or signed here, so that no signature can be moved from one
// purpose to another.
constexpr std::string_view kKeyDomain = "shoal directory key 1:";
constexpr std::string_view kRecordDomain = "shoal directory record 1:";

void append(Bytes& to, ByteView bytes) {
    to.insert(to.end(), bytes.begin(), bytes.end());
}

template <typename Number>
void append_number(Bytes& to, Number number) {
    for (std::size_t i = 0; i < sizeof number; ++i)
        to.push_back(static_cast<std::uint8_t>(number >> (8 * i)));
}

/// domain || key hash || owner || length of subkey (1 byte) || subkey || sequence (8) || expires (8) ||
/// length of value (2) || value; numbers little-endian.
Bytes signed_bytes(const SignedRecord& record, const KeyHash& key) {
    Bytes bytes = to_bytes(kRecordDomain);
    append(bytes, key.bytes);
    append(bytes, record.owner);
    append_number(bytes, static_cast<std::uint8_t>(record.subkey.size()));
    append(bytes, as_bytes(record.subkey));
    append_number(bytes, record.sequence);
    append_number(bytes, static_cast<std::uint64_t>(record.expires.time_since_epoch().count()));
    append_number(bytes, static_cast<std::uint16_t>(record.value.size()));
    append(bytes, record.value);
    return bytes;
}

std::string text_of(ByteView bytes) {
    return std::string(as_text(bytes));
}

bool within_bounds(const SignedRecord& record) {
    return record.subkey.size() <= kMaximumSubkeyBytes && record.value.size() <= kMaximumValueBytes;
}

}  // namespace

KeyHash KeyHash::of(std::string_view key) {
    const Digest digest = sha256(as_bytes(std::string(kKeyDomain) + std::string(key)));
    KeyHash hash;
    std::copy_n(digest.bytes.begin(), hash.bytes.size(), hash.bytes.begin());
    return hash;
}

std::optional<KeyHash> KeyHash::from_bytes(ByteView bytes) {
    KeyHash hash;
    if (bytes.size() != hash.bytes.size()) return std::nullopt;
    std::copy(bytes.begin(), bytes.end(), hash.bytes.begin());
    return hash;
}

std::string_view to_string(RecordFault fault) {
    switch (fault) {
        case RecordFault::none:
            return "none";
        case RecordFault::oversized:
            return "oversized";
        case RecordFault::malformed:
            return "malformed";
        case RecordFault::forged:
            return "forged";
        case RecordFault::expired:
            return "expired";
        case RecordFault::too_far_ahead:
            return "too_far_ahead";
        case RecordFault::stale:
            return "stale";
        case RecordFault::quota:
            return "quota";
    }
    return "unknown";
}

SignedRecord sign_record(const Signer& signer, const KeyHash& key, std::string subkey, std::uint64_t sequence,
                         WallTime expires, Bytes value) {
    SignedRecord record;
    record.owner = signer.public_key();
    record.subkey = std::move(subkey);
    record.sequence = sequence;
    record.expires = expires;
    record.value = std::move(value);
    record.signature = signer.sign(signed_bytes(record, key));
    return record;
}

Bytes encode_record(const SignedRecord& record) {
    proto::DirectoryRecord message;
    message.set_owner(text_of(record.owner));
    message.set_subkey(record.subkey);
    message.set_sequence(record.sequence);
    message.set_expires(static_cast<std::uint64_t>(record.expires.time_since_epoch().count()));
    message.set_value(text_of(record.value));
    message.set_signature(text_of(record.signature));
    Bytes bytes(message.ByteSizeLong());
    message.SerializeToArray(bytes.data(), static_cast<int>(bytes.size()));
    return bytes;
}

std::optional<SignedRecord> decode_record(ByteView bytes, RecordFault& fault) {
    fault = RecordFault::oversized;
    if (bytes.size() > kMaximumRecordBytes) return std::nullopt;
    proto::DirectoryRecord message;
    fault = RecordFault::malformed;
    if (!message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) return std::nullopt;
    SignedRecord record;
    fault = RecordFault::forged;
    if (message.owner().size() != record.owner.size() ||
        message.signature().size() != record.signature.size())
        return std::nullopt;
    std::copy(message.owner().begin(), message.owner().end(), record.owner.begin());
    std::copy(message.signature().begin(), message.signature().end(), record.signature.begin());
    record.subkey = message.subkey();
    record.sequence = message.sequence();
    record.expires = WallTime(std::chrono::milliseconds(static_cast<std::int64_t>(message.expires())));
    record.value = to_bytes(message.value());
    fault = RecordFault::oversized;
    if (!within_bounds(record)) return std::nullopt;
    // One record, one encoding: otherwise a stranger could make many of one.
    fault = RecordFault::malformed;
    const Bytes canonical = encode_record(record);
    if (!std::equal(canonical.begin(), canonical.end(), bytes.begin(), bytes.end())) return std::nullopt;
    fault = RecordFault::none;
    return record;
}

RecordFault check_record(const SignedRecord& record, const KeyHash& key, WallTime now) {
    if (!within_bounds(record)) return RecordFault::oversized;
    if (record.expires <= now) return RecordFault::expired;
    if (record.expires > now + kMaximumTimeToLive + kClockTolerance) return RecordFault::too_far_ahead;
    if (!verify(record.owner, signed_bytes(record, key), record.signature)) return RecordFault::forged;
    return RecordFault::none;
}

std::optional<SignedRecord> open_record(ByteView bytes, const KeyHash& key, WallTime now,
                                        RecordFault& fault) {
    std::optional<SignedRecord> record = decode_record(bytes, fault);
    if (!record) return std::nullopt;
    fault = check_record(*record, key, now);
    if (fault != RecordFault::none) return std::nullopt;
    return record;
}

Record to_record(const SignedRecord& signed_record, std::string key) {
    Record record;
    record.key = std::move(key);
    record.owner = signed_record.owner_id();
    record.subkey = signed_record.subkey;
    record.sequence = signed_record.sequence;
    record.expires = signed_record.expires;
    record.value = signed_record.value;
    return record;
}

}  // namespace shoal::dht
