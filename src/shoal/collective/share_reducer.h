// Adds the contributions to one member's share of the vector, chunk by chunk: the arithmetic of the
// all-reduce, without any input or output.
//
// A chunk is added in member order, whatever the order of arrival: sum = scale[0] * x[0], then + scale[1] *
// x[1], ..., each product and each sum rounded to float (the state behind the gradient likewise, with scales
// of its own), every x as the codec delivers it (the owner's own
// contribution too, so a result depends on members, weights and vectors, and not on who owns what). The sum
// is then encoded once; those bytes are the result of everybody, the owner included. Memory: at most `window`
// chunks of each contributor at once.
//
// With fp32 the sum is built in the caller's result vector, and its bytes are sent from there: no copy at
// all.
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "shoal/collective/round_plan.h"

namespace shoal::collective {

/// Whom a failure is blamed on, and why.
struct Blame {
    std::size_t member = 0;
    std::string cause;
};

class ShareReducer {
  public:
    /// The share of plan.self. Plan, contribution and result (both empty for an auxiliary peer) outlive the
    /// reducer.
    ShareReducer(const RoundPlan& plan, std::span<const float> contribution, std::span<float> result,
                 std::size_t window);

    /// True if this member's contribution is added (it has something that counts, and is not the owner
    /// itself).
    bool is_sender(std::size_t member) const;
    std::size_t chunks() const { return chunks_; }
    /// Chunks before this one have a result.
    std::size_t completed() const { return completed_; }
    bool finished() const { return completed_ == chunks_; }
    /// True if there is room for this chunk of a contribution.
    bool has_room(std::size_t chunk) const { return chunk < released_ + window_; }
    /// The first sender whose bytes the next chunk waits for.
    std::optional<std::size_t> waits_for() const;

    /// All of them.
    std::vector<std::size_t> all_waited_for() const;

    /// Takes the next chunk of a sender and adds what can be added. Returns whom to blame if the bytes, or
    /// numbers in them, are wrong; nothing may be added after that.
    std::optional<Blame> add(std::size_t member, Bytes payload);
    /// Adds what can be added without new bytes. Call at the start and after release_until().
    std::optional<Blame> advance();

    /// The encoded result of a completed chunk that is not released yet. Valid until released.
    ByteView result(std::size_t chunk) const;
    /// Results before this one are not needed any more.
    void release_until(std::size_t chunk);

    /// Of all encoded results in order; call when finished.
    Fingerprint digest() const;

  private:
    struct Chunk {
        std::vector<Bytes> payloads;   // by member; empty until it arrives
        std::size_t next_member = 0;   // all before it are added
        bool started = false;          // something is added
        std::vector<float> sum_space;  // unless the sum is built in the result vector
        Bytes encoded;                 // unless the sum is its own encoding
        std::span<float> sum;
        ByteView result;
    };

    Chunk& chunk_at(std::size_t index);
    std::optional<Blame> add_ready_members(Chunk& chunk, const Share& range);
    void add_encoded(Chunk& chunk, const Share& range, ByteView encoded, std::size_t member);
    void add_with_one_scale(Chunk& chunk, const Share& range, ByteView encoded, float scale);
    void add_own(Chunk& chunk, const Share& range);
    std::optional<Blame> finish(Chunk& chunk, const Share& range);
    Blame find_culprit(const Chunk& chunk, const Share& range) const;

    const RoundPlan& plan_;
    const compress::VectorCodec& codec_;
    const std::span<const float> contribution_;
    const std::span<float> result_;
    const std::size_t window_, chunks_;
    const bool exact_;  // encoded bytes are the floats themselves

    std::deque<Chunk> open_;    // chunks from released_ on
    std::size_t released_ = 0;  // invariant: released_ <= completed_ <= chunks_
    std::size_t completed_ = 0;
    std::vector<std::size_t> received_;  // chunks a sender has delivered
    Bytes own_encoded_;
    std::vector<float> decoded_;  // of a chunk with the gradient's end and the state's begin
    std::vector<Fingerprint> fingerprints_;
};

/// One fingerprint of many, in order.
Fingerprint combine(std::span<const Fingerprint> fingerprints);

/// True if no number is NaN or infinite.
bool all_finite(std::span<const float> numbers);

}  // namespace shoal::collective
