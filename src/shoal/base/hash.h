// SHA-256 digests and the Merkle root over them; and the fast 128-bit fingerprint that peers compare after an
// all-reduce.
#pragma once

#include <array>
#include <bit>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <string>

#include "shoal/base/bytes.h"

namespace shoal {

/// A SHA-256 value. Ordered bytewise.
struct Digest {
    std::array<std::uint8_t, 32> bytes{};
    bool operator==(const Digest&) const = default;
    /// The first eight bytes, as a number, nearly always decide: no call, where comparing arrays is one.
    std::strong_ordering operator<=>(const Digest& other) const {
        const std::uint64_t own = beginning(), others = other.beginning();
        return own != others ? own <=> others : bytes <=> other.bytes;
    }
    std::string hex() const { return to_hex(bytes); }
    /// Throws Error(invalid_argument) unless the text is 64 hexadecimal digits.
    static Digest from_hex(std::string_view hex);
    /// Throws Error(protocol_violation) unless there are exactly 32 bytes.
    static Digest from_bytes(ByteView bytes);

  private:
    std::uint64_t beginning() const {
        std::uint64_t number = 0;
        std::memcpy(&number, bytes.data(), sizeof number);
        return std::endian::native == std::endian::little ? __builtin_bswap64(number) : number;
    }
};

Digest sha256(ByteView bytes);

/// SHA-256 over parts that arrive one by one.
class Sha256 {
  public:
    Sha256();
    ~Sha256();
    Sha256(Sha256&&) noexcept;
    Sha256& operator=(Sha256&&) noexcept;
    void update(ByteView bytes);
    Digest finish();

  private:
    struct State;
    std::unique_ptr<State> state_;
};

/// Root of a binary Merkle tree over leaf digests (RFC 6962 shape: inner nodes are prefixed with 0x01, leaves
/// with 0x00, so no leaf can be passed off as an inner node). The root of no leaves is sha256 of nothing.
Digest merkle_root(std::span<const Digest> leaves);

/// Digest of a Merkle leaf: sha256(0x00 || bytes).
Digest merkle_leaf(ByteView bytes);

/// XXH3, 128 bits, seeded. Fast (tens of GB/s) and not cryptographic: it finds accidents, not liars.
struct Fingerprint {
    std::uint64_t low = 0, high = 0;
    auto operator<=>(const Fingerprint&) const = default;
    std::string hex() const;
};
Fingerprint fingerprint(ByteView bytes, std::uint64_t seed = 0);

}  // namespace shoal
