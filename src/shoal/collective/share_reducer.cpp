#include "shoal/collective/share_reducer.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "shoal/base/error.h"
#include "shoal/compress/exact_floating_point.h"

namespace shoal::collective {

Fingerprint combine(std::span<const Fingerprint> fingerprints) {
    return fingerprint(as_bytes(fingerprints));
}

bool all_finite(std::span<const float> numbers) {
    // An exponent field of ones tells; blocks of a fixed size, so that the compiler vectorises the inner
    // loop.
    constexpr std::size_t kBlock = 64;
    constexpr std::uint32_t kExponent = 0x7f800000u;
    std::size_t i = 0;
    for (; i + kBlock <= numbers.size(); i += kBlock) {
        std::uint32_t bad = 0;
        for (std::size_t k = 0; k < kBlock; ++k)
            bad |= (std::bit_cast<std::uint32_t>(numbers[i + k]) & kExponent) == kExponent ? 1u : 0u;
        if (bad != 0) return false;
    }
    for (; i < numbers.size(); ++i)
        if (!std::isfinite(numbers[i])) return false;
    return true;
}

namespace {

/// values[i] = scale * encoded[i], for fp32; in blocks for the vectoriser.
void scaled_copy(ByteView encoded, float scale, std::span<float> values) {
    const compress::ExactFloatingPoint exact;
    constexpr std::size_t kBlock = 64;
    std::size_t i = 0;
    float block[kBlock];
    for (; i + kBlock <= values.size(); i += kBlock) {
        std::memcpy(block, encoded.data() + i * sizeof(float), sizeof block);
        for (std::size_t k = 0; k < kBlock; ++k) values[i + k] = scale * block[k];
    }
    const std::size_t rest = values.size() - i;
    std::memcpy(block, encoded.data() + i * sizeof(float), rest * sizeof(float));
    for (std::size_t k = 0; k < rest; ++k) values[i + k] = scale * block[k];
}

}  // namespace

ShareReducer::ShareReducer(const RoundPlan& plan, std::span<const float> contribution,
                           std::span<float> result, std::size_t window)
    : plan_(plan),
      codec_(*plan.codec),
      contribution_(contribution),
      result_(result),
      window_(window),
      chunks_(plan.chunks_of(plan.self)),
      exact_(plan.codec->is_exact()),
      received_(plan.members.size(), 0) {
    fingerprints_.reserve(chunks_);
}

bool ShareReducer::is_sender(std::size_t member) const {
    return member != plan_.self && plan_.contributes(member) && plan_.sends(member);
}

std::optional<std::size_t> ShareReducer::waits_for() const {
    if (finished()) return std::nullopt;
    for (std::size_t i = 0; i < received_.size(); ++i)
        if (is_sender(i) && received_[i] <= completed_) return i;
    return std::nullopt;
}

std::vector<std::size_t> ShareReducer::all_waited_for() const {
    std::vector<std::size_t> members;
    for (std::size_t i = 0; i < received_.size() && !finished(); ++i)
        if (is_sender(i) && received_[i] <= completed_) members.push_back(i);
    return members;
}

ShareReducer::Chunk& ShareReducer::chunk_at(std::size_t index) {
    while (released_ + open_.size() <= index) {
        Chunk& chunk = open_.emplace_back();
        chunk.payloads.resize(plan_.members.size());
        const Share range = plan_.chunk(plan_.self, released_ + open_.size() - 1);
        if (exact_ && !result_.empty()) {
            chunk.sum = result_.subspan(range.begin, range.size());
        } else {
            chunk.sum_space.resize(range.size());
            chunk.sum = chunk.sum_space;
        }
    }
    return open_[index - released_];
}

std::optional<Blame> ShareReducer::add(std::size_t member, Bytes payload) {
    const std::size_t index = received_[member];
    if (!is_sender(member) || index >= chunks_) return Blame{member, "sent more than its contribution"};
    const Share range = plan_.chunk(plan_.self, index);
    if (payload.size() != codec_.encoded_size(range.begin, range.size()))
        return Blame{member, "sent a chunk of a wrong size"};
    chunk_at(index).payloads[member] = std::move(payload);
    ++received_[member];
    return advance();
}

std::optional<Blame> ShareReducer::advance() {
    while (completed_ < chunks_ && has_room(completed_)) {
        Chunk& chunk = chunk_at(completed_);
        const Share range = plan_.chunk(plan_.self, completed_);
        if (auto blame = add_ready_members(chunk, range)) return blame;
        if (chunk.next_member < plan_.members.size()) return std::nullopt;
        if (auto blame = finish(chunk, range)) return blame;
        ++completed_;
    }
    return std::nullopt;
}

void ShareReducer::add_encoded(Chunk& chunk, const Share& range, ByteView encoded, std::size_t member) {
    const float scale = plan_.scales[member], state_scale = plan_.state_scales[member];
    if (range.end <= plan_.state_begin) return add_with_one_scale(chunk, range, encoded, scale);
    if (range.begin >= plan_.state_begin) return add_with_one_scale(chunk, range, encoded, state_scale);
    decoded_.resize(range.size());
    codec_.decode(range.begin, encoded, decoded_);
    const std::size_t gradient = plan_.state_begin - range.begin;
    if (!chunk.started) std::fill(chunk.sum.begin(), chunk.sum.end(), 0.0F);
    chunk.started = true;
    const compress::ExactFloatingPoint exact;
    for (std::size_t i = 0; i < decoded_.size(); ++i)
        chunk.sum[i] += (i < gradient ? scale : state_scale) * decoded_[i];
}

/// The first contribution of a chunk needs no cleared sum where bytes are floats.
void ShareReducer::add_with_one_scale(Chunk& chunk, const Share& range, ByteView encoded, float scale) {
    if (chunk.started) return codec_.decode_scaled_add(range.begin, encoded, scale, chunk.sum);
    chunk.started = true;
    if (exact_) return scaled_copy(encoded, scale, chunk.sum);
    std::fill(chunk.sum.begin(), chunk.sum.end(), 0.0f);
    codec_.decode_scaled_add(range.begin, encoded, scale, chunk.sum);
}

std::optional<Blame> ShareReducer::add_ready_members(Chunk& chunk, const Share& range) {
    for (; chunk.next_member < plan_.members.size(); ++chunk.next_member) {
        const std::size_t member = chunk.next_member;
        if (member == plan_.self) {
            add_own(chunk, range);
        } else if (is_sender(member)) {
            if (chunk.payloads[member].empty()) break;
            try {
                add_encoded(chunk, range, chunk.payloads[member], member);
            } catch (const Error& error) {
                return Blame{member, error.what()};
            }
        }
    }
    return std::nullopt;
}

void ShareReducer::add_own(Chunk& chunk, const Share& range) {
    if (!plan_.contributes(plan_.self) || !plan_.sends(plan_.self)) return;
    const std::span<const float> own = contribution_.subspan(range.begin, range.size());
    if (exact_) {
        add_encoded(chunk, range, as_bytes(own), plan_.self);
        return;
    }
    own_encoded_.resize(codec_.encoded_size(range.begin, own.size()));
    codec_.encode(range.begin, own, own_encoded_);
    add_encoded(chunk, range, own_encoded_, plan_.self);
}

std::optional<Blame> ShareReducer::finish(Chunk& chunk, const Share& range) {
    if (!all_finite(chunk.sum)) return find_culprit(chunk, range);
    chunk.payloads.clear();
    if (exact_) {
        chunk.result = as_bytes(std::span<const float>(chunk.sum));
    } else {
        chunk.encoded.resize(codec_.encoded_size(range.begin, chunk.sum.size()));
        codec_.encode(range.begin, chunk.sum, chunk.encoded);
        chunk.result = chunk.encoded;
        if (!result_.empty())
            codec_.decode(range.begin, chunk.result, result_.subspan(range.begin, range.size()));
        chunk.sum_space = {};
    }
    fingerprints_.push_back(fingerprint(chunk.result));
    return std::nullopt;
}

Blame ShareReducer::find_culprit(const Chunk& chunk, const Share& range) const {
    // Seldom: decode again, one by one. With finite contributions only a sum of huge ones can overflow; the
    // largest is blamed.
    std::vector<float> values(range.size());
    Blame blame{plan_.self, "contributed numbers that are not finite"};
    float largest = -1;
    for (std::size_t member = 0; member < plan_.members.size(); ++member) {
        if (member == plan_.self) {
            if (!plan_.contributes(member)) continue;
            const auto own = contribution_.subspan(range.begin, range.size());
            std::copy(own.begin(), own.end(), values.begin());
        } else if (is_sender(member)) {
            codec_.decode(range.begin, chunk.payloads[member], values);
        } else {
            continue;
        }
        if (!all_finite(values)) return {member, "contributed numbers that are not finite"};
        for (const float v : values)
            if (std::fabs(v) > largest) {
                largest = std::fabs(v);
                blame = {member, "contributed numbers so large that the sum overflows"};
            }
    }
    return blame;
}

ByteView ShareReducer::result(std::size_t chunk) const {
    return open_[chunk - released_].result;
}

void ShareReducer::release_until(std::size_t chunk) {
    while (released_ < std::min(chunk, completed_)) {
        open_.pop_front();
        ++released_;
    }
}

Fingerprint ShareReducer::digest() const {
    return combine(fingerprints_);
}

}  // namespace shoal::collective
