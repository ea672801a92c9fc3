// What a state looks like on the wire: its canonical bytes, the manifest that describes them, and the
// messages of a transfer with the checks that each passes first.
//
// The canonical bytes of a state are the floats of all its sections one after the other (little-endian), cut
// into chunks of equal size. The Merkle root covers the leaf of the manifest's header (step, sizes, names)
// and then the leaves of the chunks, so one digest pins everything that a receiver will believe.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "shoal/base/bytes.h"
#include "shoal/base/hash.h"
#include "shoal/base/identity.h"
#include "shoal/collective/compute.h"
#include "shoal/net/network.h"

namespace shoal::collective {

inline constexpr std::size_t kMaximumSections = 4096;
inline constexpr std::size_t kMaximumSectionName = 200;
inline constexpr std::size_t kMaximumChunkBytes = net::kMaximumPayloadBytes;
inline constexpr std::size_t kMinimumChunkBytes = 64;
inline constexpr std::size_t kDigestBytes = 32;
/// Of the digests of a manifest, all messages but the last carry exactly so many.
inline constexpr std::size_t kDigestsOfMessage = 1024;
/// Of the pieces in which the bytes of a chunk travel, all but the last have exactly this size: a donor that
/// sends smaller ones to be taken for alive is refused.
inline constexpr std::size_t kPieceBytes = 32 * 1024;

/// A refusal that begins so says nothing against the donor's claim to have a state.
inline constexpr std::string_view kBusy = "busy";

struct SectionShape {
    std::string name;
    std::uint64_t elements = 0;
};

/// Describes the canonical bytes of one state. Made by manifest_of() or decode_state_answer(), which keep it
/// sound: names are unique, sizes do not overflow, chunk_bytes is a multiple of 4 within the limits.
struct StateManifest {
    Step step{};
    std::size_t chunk_bytes = 0;
    std::vector<SectionShape> sections;

    std::size_t total_bytes() const;
    std::size_t chunks() const { return (total_bytes() + chunk_bytes - 1) / chunk_bytes; }
    /// Bytes of one chunk; the last may be shorter.
    std::size_t size_of_chunk(std::size_t index) const;
    /// Merkle leaf of the header.
    Digest header_leaf() const;
    /// @param leaves  of the chunks, in order
    Digest root(std::span<const Digest> leaves) const;
};

/// Throws Error(invalid_argument) if the state has too many sections or the chunk size is out of bounds.
StateManifest manifest_of(const State& state, std::size_t chunk_bytes);
/// A state of that shape, all zero.
std::shared_ptr<State> empty_state(const StateManifest& manifest);
/// The canonical bytes [offset, offset + bytes.size()); a range of whole floats.
void copy_out(const State& state, std::size_t offset, MutableByteView bytes);
void copy_in(State& state, std::size_t offset, ByteView bytes);

struct StateRequest {
    enum class What { begin, manifest, chunk, stay } what = What::begin;
    std::uint64_t number = 0;  ///< begin: minimum step; chunk: index
};
Bytes encode_state_request(const StateRequest& request);
/// Throws Error(protocol_violation).
StateRequest decode_state_request(const net::Message& message, const PeerId& from);

struct StateOffer {
    Step step{};
    Digest root;
    std::uint64_t total_bytes = 0;
};

struct StateAnswer {
    enum class What { preparing, offer, refusal, manifest, digests, chunk, piece } what = What::preparing;
    StateOffer offer;
    std::string refusal;
    StateManifest manifest;
    std::vector<Digest> digests;  ///< 1 to kDigestsOfMessage
    std::uint64_t chunk = 0;
};
Bytes encode_state_answer(const StateAnswer& answer);
/// Checks everything that can be checked without knowing what was asked. Throws Error(protocol_violation).
/// @param maximum_bytes  of a whole state
StateAnswer decode_state_answer(const net::Message& message, const PeerId& from, std::size_t maximum_bytes);

}  // namespace shoal::collective
