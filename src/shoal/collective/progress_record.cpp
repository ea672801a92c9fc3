#include "shoal/collective/progress_record.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <shoal/proto/progress.pb.h>

#include "shoal/collective/group_partition.h"

namespace shoal::collective {

namespace {

double brought_into(double number, double maximum) {
    return std::isfinite(number) ? std::clamp(number, 0.0, maximum) : 0.0;
}

/// The longest beginning of a UTF-8 text that fits and does not end within a character.
std::string_view cut_name(std::string_view name) {
    if (name.size() <= kMaximumNameBytes) return name;
    std::size_t size = kMaximumNameBytes;
    while (size > 0 && (static_cast<unsigned char>(name[size]) & 0xC0) == 0x80) --size;
    return name.substr(0, size);
}

std::string printable(std::string name) {
    for (char& c : name) {
        const auto byte = static_cast<unsigned char>(c);
        if (byte < 0x20 || byte == 0x7F) c = '?';
    }
    return name;
}

[[noreturn]] void refuse(const PeerId& owner, const std::string& field) {
    throw Error(ErrorKind::protocol_violation, "sent a progress record whose " + field, owner.short_name());
}

double checked(const PeerId& owner, const char* field, double number, double maximum) {
    if (!std::isfinite(number) || number < 0 || number > maximum)
        refuse(owner, std::string(field) + " is not a plausible number");
    return number;
}

std::int64_t checked(const PeerId& owner, const char* field, std::uint64_t number, std::int64_t maximum) {
    if (number > static_cast<std::uint64_t>(maximum))
        refuse(owner, std::string(field) + " is implausibly large (" + std::to_string(number) + ")");
    return static_cast<std::int64_t>(number);
}

}  // namespace

Bytes encode_progress(const ProgressRecord& record) {
    proto::ProgressRecord out;
    out.set_sequence(record.sequence);
    out.set_step(
        static_cast<std::uint64_t>(std::clamp<std::int64_t>(value(record.progress.step), 0, kMaximumStep)));
    if (record.goodbye) {
        out.set_goodbye(true);
    } else {
        const Progress& own = record.progress;
        out.set_name(std::string(cut_name(own.name)));
        out.set_role(static_cast<std::uint32_t>(own.role));
        out.set_samples(
            static_cast<std::uint64_t>(std::clamp<std::int64_t>(value(own.samples), 0, kMaximumSamples)));
        out.set_samples_per_second(brought_into(own.samples_per_second, kMaximumSamplesPerSecond));
        out.set_micro_batch_seconds(brought_into(own.micro_batch_seconds, kMaximumMicroBatchSeconds));
        out.set_training(own.training);
        out.set_digest_low(own.digest.low);
        out.set_digest_high(own.digest.high);
        const auto loss = static_cast<float>(own.loss);
        out.set_loss(std::isfinite(loss) ? loss : 0.0F);
        out.set_bytes_sent(own.bytes_sent);
        out.set_bytes_received(own.bytes_received);
        out.set_time_milliseconds(
            static_cast<std::uint64_t>(std::max<std::int64_t>(own.time.time_since_epoch().count(), 0)));
        out.set_waiting(own.waiting);
        out.set_attempt(std::min(own.attempt, kMaximumAttempt));
        out.set_swarm_size(static_cast<float>(brought_into(own.swarm_size, kMaximumSwarmSize)));
        out.set_groups(own.groups);
        out.set_batch_seconds(static_cast<float>(brought_into(own.batch_seconds, kMaximumMicroBatchSeconds)));
    }
    Bytes bytes(out.ByteSizeLong());
    out.SerializeToArray(bytes.data(), static_cast<int>(bytes.size()));
    return bytes;
}

ProgressRecord decode_progress(ByteView bytes, const PeerId& owner) {
    if (bytes.size() > dht::kMaximumValueBytes) refuse(owner, "size is over the limit");
    proto::ProgressRecord in;
    if (!in.ParseFromArray(bytes.data(), static_cast<int>(bytes.size())))
        refuse(owner, "bytes are malformed");

    ProgressRecord record;
    record.sequence = in.sequence();
    record.progress.peer = owner;
    record.goodbye = in.goodbye();
    record.progress.step = static_cast<Step>(checked(owner, "step", in.step(), kMaximumStep));
    if (record.goodbye) return record;

    if (in.name().size() > kMaximumNameBytes) refuse(owner, "name is too long");
    if (in.role() > static_cast<std::uint32_t>(Role::auxiliary)) refuse(owner, "role is unknown");
    if (!std::isfinite(in.loss())) refuse(owner, "loss is not finite");
    Progress& progress = record.progress;
    progress.name = printable(in.name());
    progress.role = static_cast<Role>(in.role());
    progress.samples =
        static_cast<Samples>(checked(owner, "number of samples", in.samples(), kMaximumSamples));
    progress.samples_per_second = checked(owner, "speed", in.samples_per_second(), kMaximumSamplesPerSecond);
    progress.micro_batch_seconds =
        checked(owner, "time of a micro-batch", in.micro_batch_seconds(), kMaximumMicroBatchSeconds);
    progress.training = in.training();
    progress.digest = {in.digest_low(), in.digest_high()};
    progress.loss = in.loss();
    progress.bytes_sent = in.bytes_sent();
    progress.bytes_received = in.bytes_received();
    constexpr std::int64_t kYear3000 = 32'503'680'000'000;
    progress.time =
        WallTime(std::chrono::milliseconds(checked(owner, "time", in.time_milliseconds(), kYear3000)));
    progress.waiting = in.waiting();
    progress.attempt =
        static_cast<unsigned>(checked(owner, "attempt", std::uint64_t{in.attempt()}, kMaximumAttempt));
    progress.swarm_size = checked(owner, "size of the swarm", in.swarm_size(), kMaximumSwarmSize);
    progress.groups = static_cast<std::uint32_t>(
        checked(owner, "number of groups", std::uint64_t{in.groups()}, kMostGroups));
    if (progress.groups > 0 && !std::has_single_bit(progress.groups))
        refuse(owner, "number of groups is no power of two");
    progress.batch_seconds = checked(owner, "time of a batch", in.batch_seconds(), kMaximumMicroBatchSeconds);
    return record;
}

}  // namespace shoal::collective
