#include "shoal/dht/record.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>
#include <shoal/proto/dht.pb.h>

#include "shoal/base/random.h"
#include "shoal/dht/record_store.h"

namespace shoal::dht {
namespace {

using namespace std::chrono_literals;

const WallTime kNow{std::chrono::milliseconds(1700000000000)};
const KeyHash kKey = KeyHash::of("run/progress");

KeyPair key_pair(std::uint8_t number) {
    const std::array<std::uint8_t, 32> seed{number};
    return KeyPair::from_seed(seed);
}

SignedRecord make_record(std::uint64_t sequence = 7, const std::string& value = "step 12",
                         Duration life = 60s, std::uint8_t owner = 1, const std::string& subkey = "") {
    return sign_record(key_pair(owner), kKey, subkey, sequence,
                       kNow + std::chrono::floor<std::chrono::milliseconds>(life), to_bytes(value));
}

RecordFault fault_of(ByteView bytes, const KeyHash& key = kKey, WallTime now = kNow) {
    RecordFault fault = RecordFault::none;
    const auto record = open_record(bytes, key, now, fault);
    EXPECT_EQ(record.has_value(), fault == RecordFault::none);
    return fault;
}

TEST(Record, survives_encoding) {
    const SignedRecord record = make_record();
    RecordFault fault = RecordFault::malformed;
    const auto copy = open_record(encode_record(record), kKey, kNow, fault);
    ASSERT_TRUE(copy);
    EXPECT_EQ(*copy, record);
    EXPECT_EQ(fault, RecordFault::none);
}

TEST(Record, fits_its_bound_when_all_parts_are_as_long_as_allowed) {
    const SignedRecord longest = make_record(~0ull, std::string(kMaximumValueBytes, 'v'), 600s, 1,
                                             std::string(kMaximumSubkeyBytes, 's'));
    const Bytes bytes = encode_record(longest);
    EXPECT_LE(bytes.size(), kMaximumRecordBytes);
    EXPECT_LT(bytes.size(), 600u);
    EXPECT_EQ(fault_of(bytes), RecordFault::none);
}

TEST(Record, is_refused_when_a_part_is_one_byte_too_long) {
    EXPECT_EQ(fault_of(encode_record(make_record(1, std::string(kMaximumValueBytes + 1, 'v')))),
              RecordFault::oversized);
    EXPECT_EQ(fault_of(encode_record(make_record(1, "", 60s, 1, std::string(kMaximumSubkeyBytes + 1, 's')))),
              RecordFault::oversized);
    EXPECT_EQ(fault_of(Bytes(kMaximumRecordBytes + 1)), RecordFault::oversized);
}

TEST(Record, is_refused_for_another_key) {
    EXPECT_EQ(fault_of(encode_record(make_record()), KeyHash::of("run/other")), RecordFault::forged);
}

TEST(Record, is_refused_unsigned_or_signed_by_somebody_else) {
    SignedRecord record = make_record();
    record.signature = {};
    EXPECT_EQ(fault_of(encode_record(record)), RecordFault::forged);
    record = make_record();
    record.owner = key_pair(2).public_key();
    EXPECT_EQ(fault_of(encode_record(record)), RecordFault::forged);
    proto::DirectoryRecord unsigned_record;
    ASSERT_TRUE(unsigned_record.ParseFromString(std::string(as_text(encode_record(make_record())))));
    unsigned_record.clear_signature();
    EXPECT_EQ(fault_of(as_bytes(unsigned_record.SerializeAsString())), RecordFault::forged);
}

TEST(Record, is_refused_when_any_part_was_changed) {
    const SignedRecord original = make_record();
    SignedRecord record = original;
    record.value[0] ^= 1;
    EXPECT_EQ(check_record(record, kKey, kNow), RecordFault::forged);
    record = original;
    ++record.sequence;
    EXPECT_EQ(check_record(record, kKey, kNow), RecordFault::forged);
    record = original;
    record.expires += 1ms;
    EXPECT_EQ(check_record(record, kKey, kNow), RecordFault::forged);
    record = original;
    record.subkey = "x";
    EXPECT_EQ(check_record(record, kKey, kNow), RecordFault::forged);
}

TEST(Record, is_refused_from_the_moment_it_expires) {
    const Bytes bytes = encode_record(make_record(1, "v", 60s));
    EXPECT_EQ(fault_of(bytes, kKey, kNow + 60s - 1ms), RecordFault::none);
    EXPECT_EQ(fault_of(bytes, kKey, kNow + 60s), RecordFault::expired);
}

TEST(Record, is_refused_when_it_lives_longer_than_a_clock_may_be_wrong) {
    EXPECT_EQ(fault_of(encode_record(make_record(1, "v", kMaximumTimeToLive + kClockTolerance))),
              RecordFault::none);
    EXPECT_EQ(fault_of(encode_record(make_record(1, "v", kMaximumTimeToLive + kClockTolerance + 1ms))),
              RecordFault::too_far_ahead);
    SignedRecord absurd = make_record();
    absurd.expires = WallTime(std::chrono::milliseconds(INT64_MAX));
    EXPECT_EQ(check_record(absurd, kKey, kNow), RecordFault::too_far_ahead);
    absurd.expires = WallTime(std::chrono::milliseconds(INT64_MIN));
    EXPECT_EQ(check_record(absurd, kKey, kNow), RecordFault::expired);
}

TEST(Record, has_only_one_encoding) {
    const Bytes bytes = encode_record(make_record());
    Bytes longer = bytes;
    longer.insert(longer.end(), {0x78, 0x01});  // an unknown field 15
    EXPECT_EQ(fault_of(longer), RecordFault::malformed);
    Bytes doubled = bytes;
    doubled.insert(doubled.end(), bytes.begin(), bytes.begin() + 34);  // the owner twice
    EXPECT_EQ(fault_of(doubled), RecordFault::malformed);
}

RC_GTEST_PROP(Record, random_bytes_are_refused, (const std::vector<std::uint8_t>& bytes)) {
    RC_ASSERT(fault_of(bytes) != RecordFault::none);
}

RC_GTEST_PROP(Record, any_flipped_bit_is_refused, ()) {
    Bytes bytes = encode_record(make_record());
    const auto bit = *rc::gen::inRange<std::size_t>(0, bytes.size() * 8);
    bytes[bit / 8] ^= static_cast<std::uint8_t>(1 << bit % 8);
    RC_ASSERT(fault_of(bytes) != RecordFault::none);
}

// --- the store
// ------------------------------------------------------------------------------------------------------

std::vector<std::string> values(const RecordStore& store, WallTime now = kNow) {
    std::vector<std::string> result;
    for (const SignedRecord& record : store.read(kKey, now)) result.emplace_back(as_text(record.value));
    return result;
}

TEST(RecordStore, keeps_the_newest_of_each_name) {
    RecordStore store;
    EXPECT_TRUE(store.offer(kKey, make_record(7, "seven"), kNow).changed);
    EXPECT_TRUE(store.offer(kKey, make_record(8, "eight"), kNow).changed);
    EXPECT_EQ(store.offer(kKey, make_record(7, "seven"), kNow).fault, RecordFault::stale);
    EXPECT_EQ(values(store), std::vector<std::string>{"eight"});
}

TEST(RecordStore, keeps_the_first_of_two_with_the_same_sequence_number) {
    RecordStore store;
    EXPECT_TRUE(store.offer(kKey, make_record(7, "first"), kNow).changed);
    EXPECT_EQ(store.offer(kKey, make_record(7, "second"), kNow).fault, RecordFault::stale);
    const auto again = store.offer(kKey, make_record(7, "first"), kNow);
    EXPECT_EQ(again.fault, RecordFault::none);
    EXPECT_FALSE(again.changed);
    EXPECT_EQ(values(store), std::vector<std::string>{"first"});
}

TEST(RecordStore, does_not_let_an_old_record_outlive_a_newer_one) {
    RecordStore store;
    store.offer(kKey, make_record(1, "long", 600s), kNow);
    store.offer(kKey, make_record(2, "short", 10s), kNow);
    store.forget_expired(kNow + 20s);
    EXPECT_TRUE(values(store, kNow + 20s).empty());
    EXPECT_EQ(store.offer(kKey, make_record(1, "long", 600s), kNow + 20s).fault, RecordFault::stale);
    store.forget_expired(kNow + 600s);
    EXPECT_EQ(store.size(), 0u);
}

TEST(RecordStore, holds_to_its_quotas_at_the_bound) {
    StoreLimits limits;
    limits.records_per_owner = 2;
    limits.records_per_key = 3;
    limits.records = 4;
    RecordStore store(limits);
    const auto offer = [&](std::uint8_t owner, const std::string& subkey, const KeyHash& key = kKey) {
        return store.offer(key, make_record(1, "v", 60s, owner, subkey), kNow).fault;
    };
    EXPECT_EQ(offer(1, "a"), RecordFault::none);
    EXPECT_EQ(offer(1, "b"), RecordFault::none);
    EXPECT_EQ(offer(1, "c"), RecordFault::quota) << "of the owner";
    EXPECT_EQ(offer(2, "a"), RecordFault::none);
    EXPECT_EQ(offer(3, "a"), RecordFault::quota) << "of the key";
    EXPECT_EQ(offer(3, "a", KeyHash::of("other")), RecordFault::none);
    EXPECT_EQ(offer(3, "a", KeyHash::of("third")), RecordFault::quota) << "of all";
    EXPECT_EQ(offer(1, "a"), RecordFault::none) << "what is there stays welcome";
}

TEST(RecordStore, makes_room_by_forgetting_what_has_expired) {
    StoreLimits limits;
    limits.records = 1;
    RecordStore store(limits);
    store.offer(kKey, make_record(1, "old", 10s, 1), kNow);
    EXPECT_EQ(store.offer(kKey, make_record(1, "new", 60s, 2), kNow + 9s).fault, RecordFault::quota);
    EXPECT_EQ(store.offer(kKey, make_record(1, "new", 60s, 2), kNow + 10s).fault, RecordFault::none);
}

RC_GTEST_PROP(RecordStore, ends_with_the_highest_sequence_number_in_any_order, ()) {
    const auto sequences =
        *rc::gen::container<std::vector<std::uint8_t>>(12, rc::gen::arbitrary<std::uint8_t>());
    RecordStore store;
    for (const std::uint8_t sequence : sequences)
        store.offer(kKey, make_record(sequence, std::to_string(sequence)), kNow);
    const auto highest = *std::max_element(sequences.begin(), sequences.end());
    RC_ASSERT(values(store) == std::vector<std::string>{std::to_string(highest)});
}

}  // namespace
}  // namespace shoal::dht
