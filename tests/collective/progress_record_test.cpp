#include "shoal/collective/progress_record.h"

#include <cmath>
#include <gtest/gtest.h>
#include <limits>
#include <rapidcheck.h>
#include <shoal/proto/progress.pb.h>

#include "shoal/collective/group_partition.h"

namespace shoal::collective {
namespace {

PeerId peer(std::uint8_t n) {
    Digest digest;
    digest.bytes[0] = n;
    return PeerId(digest);
}

ProgressRecord full_record() {
    ProgressRecord record;
    record.sequence = std::numeric_limits<std::uint64_t>::max();
    Progress& progress = record.progress;
    progress.peer = peer(7);
    progress.name = std::string(kMaximumNameBytes, 'n');
    progress.role = Role::client;
    progress.step = static_cast<Step>(kMaximumStep);
    progress.samples = static_cast<Samples>(kMaximumSamples);
    progress.samples_per_second = kMaximumSamplesPerSecond;
    progress.micro_batch_seconds = kMaximumMicroBatchSeconds;
    progress.training = true;
    progress.digest = {0x0123456789abcdef, 0xfedcba9876543210};
    progress.loss = -3.25;
    progress.bytes_sent = std::numeric_limits<std::uint64_t>::max();
    progress.bytes_received = 17;
    progress.time = WallTime(std::chrono::milliseconds(1'700'000'000'123));
    progress.waiting = true;
    progress.attempt = kMaximumAttempt;
    return record;
}

void expect_refused(const proto::ProgressRecord& record) {
    const std::string text = record.SerializeAsString();
    try {
        decode_progress(as_bytes(text), peer(7));
        ADD_FAILURE() << "was accepted";
    } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::protocol_violation);
        EXPECT_EQ(error.peer(), peer(7).short_name());
    }
}

TEST(ProgressRecord, ComesBackAsItWasAtEveryUpperBound) {
    const ProgressRecord record = full_record();
    const Bytes bytes = encode_progress(record);
    EXPECT_LE(bytes.size(), dht::kMaximumValueBytes);
    const ProgressRecord back = decode_progress(bytes, record.progress.peer);
    EXPECT_EQ(back.sequence, record.sequence);
    EXPECT_FALSE(back.goodbye);
    EXPECT_EQ(back.progress.peer, record.progress.peer);
    EXPECT_EQ(back.progress.name, record.progress.name);
    EXPECT_EQ(back.progress.role, record.progress.role);
    EXPECT_EQ(back.progress.step, record.progress.step);
    EXPECT_EQ(back.progress.samples, record.progress.samples);
    EXPECT_EQ(back.progress.samples_per_second, record.progress.samples_per_second);
    EXPECT_EQ(back.progress.micro_batch_seconds, record.progress.micro_batch_seconds);
    EXPECT_EQ(back.progress.training, record.progress.training);
    EXPECT_EQ(back.progress.digest, record.progress.digest);
    EXPECT_EQ(back.progress.loss, record.progress.loss);
    EXPECT_EQ(back.progress.bytes_sent, record.progress.bytes_sent);
    EXPECT_EQ(back.progress.bytes_received, record.progress.bytes_received);
    EXPECT_EQ(back.progress.time, record.progress.time);
    EXPECT_EQ(back.progress.waiting, record.progress.waiting);
    EXPECT_EQ(back.progress.attempt, record.progress.attempt);
}

TEST(ProgressRecord, OfGoodbyeCarriesItsSequenceAndItsStepOnly) {
    ProgressRecord record = full_record();
    record.goodbye = true;
    const ProgressRecord back = decode_progress(encode_progress(record), peer(7));
    EXPECT_TRUE(back.goodbye);
    EXPECT_EQ(back.sequence, record.sequence);
    EXPECT_EQ(back.progress.step, record.progress.step);
    EXPECT_TRUE(back.progress.name.empty());
}

TEST(ProgressRecord, IsNeverSentWithWhatOthersRefuse) {
    ProgressRecord record = full_record();
    record.progress.loss = std::numeric_limits<double>::quiet_NaN();
    record.progress.samples_per_second = std::numeric_limits<double>::infinity();
    record.progress.micro_batch_seconds = -1;
    record.progress.name = std::string(23, 'x') + "\xc3\xa4";  // the umlaut would end at byte 25
    const ProgressRecord back = decode_progress(encode_progress(record), peer(7));
    EXPECT_EQ(back.progress.loss, 0);
    EXPECT_EQ(back.progress.samples_per_second, 0);
    EXPECT_EQ(back.progress.micro_batch_seconds, 0);
    EXPECT_EQ(back.progress.name, std::string(23, 'x'));
}

TEST(ProgressRecord, HidesControlCharactersInNames) {
    ProgressRecord record = full_record();
    record.progress.name = "a\x1b[2Jb\n";
    EXPECT_EQ(decode_progress(encode_progress(record), peer(7)).progress.name, "a?[2Jb?");
}

TEST(ProgressRecord, IsRefusedJustBeyondEachBound) {
    proto::ProgressRecord good;
    good.ParseFromString(std::string(as_text(encode_progress(full_record()))));
    const auto with = [&](auto change) {
        proto::ProgressRecord bad = good;
        change(bad);
        expect_refused(bad);
    };
    constexpr double kInfinity = std::numeric_limits<double>::infinity();
    constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
    with([](auto& r) { r.set_name(std::string(kMaximumNameBytes + 1, 'n')); });
    with([](auto& r) { r.set_role(3); });
    with([](auto& r) { r.set_step(static_cast<std::uint64_t>(kMaximumStep) + 1); });
    with([](auto& r) { r.set_step(std::numeric_limits<std::uint64_t>::max()); });
    with([](auto& r) { r.set_samples(static_cast<std::uint64_t>(kMaximumSamples) + 1); });
    with([&](auto& r) { r.set_samples_per_second(std::nextafter(kMaximumSamplesPerSecond, kInfinity)); });
    with([&](auto& r) { r.set_samples_per_second(-1e-300); });
    with([&](auto& r) { r.set_samples_per_second(kNan); });
    with([&](auto& r) { r.set_micro_batch_seconds(kInfinity); });
    with([&](auto& r) { r.set_micro_batch_seconds(-0.5); });
    with([&](auto& r) { r.set_loss(static_cast<float>(kNan)); });
    with([](auto& r) { r.set_attempt(kMaximumAttempt + 1); });
    with([](auto& r) { r.set_groups(3); });
    with([](auto& r) { r.set_groups(2 * kMostGroups); });
    with([](auto& r) { r.set_time_milliseconds(std::numeric_limits<std::uint64_t>::max()); });
}

TEST(ProgressRecord, IsRefusedWhenItIsTooLong) {
    Bytes bytes = encode_progress(full_record());
    // An unknown field (number 100, length-delimited) fills it up.
    const std::size_t filling = dht::kMaximumValueBytes - bytes.size() - 4;
    const auto filled = [&](std::size_t size) {
        Bytes long_one = bytes;
        long_one.insert(long_one.end(), {0xA2, 0x06, static_cast<std::uint8_t>(size | 0x80),
                                         static_cast<std::uint8_t>(size >> 7)});
        long_one.insert(long_one.end(), size, 'x');
        return long_one;
    };
    EXPECT_EQ(filled(filling).size(), dht::kMaximumValueBytes);
    EXPECT_NO_THROW(decode_progress(filled(filling), peer(7)));
    EXPECT_THROW(decode_progress(filled(filling + 1), peer(7)), Error);
}

TEST(ProgressRecord, MutatedByStrangersIsPlausibleOrRefused) {
    rc::check([](const std::vector<std::pair<std::uint16_t, std::uint8_t>>& changes, std::uint8_t cut) {
        Bytes bytes = encode_progress(full_record());
        for (const auto& [at, byte] : changes) bytes[at % bytes.size()] = byte;
        bytes.resize(bytes.size() - cut % bytes.size());
        try {
            const Progress progress = decode_progress(bytes, peer(7)).progress;
            RC_ASSERT(value(progress.step) >= 0 && value(progress.step) <= kMaximumStep);
            RC_ASSERT(value(progress.samples) >= 0 && value(progress.samples) <= kMaximumSamples);
            RC_ASSERT(std::isfinite(progress.samples_per_second) && progress.samples_per_second >= 0);
            RC_ASSERT(std::isfinite(progress.micro_batch_seconds) && progress.micro_batch_seconds >= 0);
            RC_ASSERT(std::isfinite(progress.loss));
        } catch (const Error& error) {
            RC_ASSERT(error.kind() == ErrorKind::protocol_violation);
        }
    });
}

}  // namespace
}  // namespace shoal::collective
