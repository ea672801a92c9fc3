// Directory records of strangers: bytes become a checked record, or are refused for one cause.
#include <cstdlib>

#include "shoal/dht/record.h"
#include "shoal/dht/record_store.h"

namespace {

using namespace shoal;
using namespace shoal::dht;

const WallTime kNow{std::chrono::milliseconds(1'700'000'000'000)};

void require(bool condition) {
    if (!condition) std::abort();
}

/// The bytes as they are: nobody has signed them.
void read_as_it_is(ByteView bytes, const KeyHash& key) {
    RecordFault fault = RecordFault::none;
    require(!open_record(bytes, key, kNow, fault) && fault != RecordFault::none);
    const auto record = decode_record(bytes, fault);
    require(record.has_value() == (fault == RecordFault::none));
    if (!record) return;
    require(bytes.size() <= kMaximumRecordBytes && record->value.size() <= kMaximumValueBytes);
    const Bytes again = encode_record(*record);
    require(std::equal(again.begin(), again.end(), bytes.begin(), bytes.end()));
}

/// The same contents, signed by a stranger who follows no rule but that of signatures.
void sign_and_store(ByteView bytes, const KeyHash& key) {
    static const std::array<std::uint8_t, 32> seed{1};
    static const KeyPair owner = KeyPair::from_seed(seed);
    RecordFault fault = RecordFault::none;
    const auto contents = decode_record(bytes, fault);
    if (!contents) return;
    const SignedRecord signed_record =
        sign_record(owner, key, contents->subkey, contents->sequence, contents->expires, contents->value);
    const auto record = open_record(encode_record(signed_record), key, kNow, fault);
    if (!record) {
        require(fault == RecordFault::expired || fault == RecordFault::too_far_ahead);
        return;
    }
    require(*record == signed_record);
    require(record->expires > kNow && record->expires <= kNow + kMaximumTimeToLive + kClockTolerance);
    require(!open_record(encode_record(signed_record), KeyHash::of("another key"), kNow, fault));
    RecordStore store;
    require(store.offer(key, *record, kNow).changed && !store.offer(key, *record, kNow).changed);
    store.forget_expired(record->expires);
    require(store.size() == 0);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static const KeyHash key = KeyHash::of("fuzz");
    read_as_it_is({data, size}, key);
    sign_and_store({data, size}, key);
    return 0;
}
