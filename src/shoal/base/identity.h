// Who a peer is: an Ed25519 key pair, and the PeerId that is the SHA-256 of its public key.
#pragma once

#include <array>
#include <compare>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include "shoal/base/bytes.h"
#include "shoal/base/hash.h"

namespace shoal {

using PublicKey = std::array<std::uint8_t, 32>;
using Signature = std::array<std::uint8_t, 64>;

/// SHA-256 of a peer's public key. Ordered bytewise; "the lowest PeerId" in the protocols means this order.
class PeerId {
  public:
    PeerId() = default;
    explicit PeerId(const Digest& digest) : digest_(digest) {}
    static PeerId of(const PublicKey& key);
    /// Throws Error(protocol_violation) unless there are exactly 32 bytes.
    static PeerId from_bytes(ByteView bytes) { return PeerId(Digest::from_bytes(bytes)); }
    static PeerId from_hex(std::string_view hex) { return PeerId(Digest::from_hex(hex)); }

    ByteView bytes() const { return digest_.bytes; }
    std::string hex() const { return digest_.hex(); }
    /// First 8 hexadecimal digits: for humans, never for decisions.
    std::string short_name() const { return hex().substr(0, 8); }
    auto operator<=>(const PeerId&) const = default;

  private:
    Digest digest_;
};

/// Signs for one peer. A seam: tests and hardware keys may bring their own.
class Signer {
  public:
    virtual ~Signer() = default;
    virtual PublicKey public_key() const = 0;
    virtual Signature sign(ByteView message) const = 0;
    PeerId peer_id() const { return PeerId::of(public_key()); }
};

/// An Ed25519 key pair in memory. Cheap to copy (shared, immutable); safe from any thread.
class KeyPair final : public Signer {
  public:
    static KeyPair generate();
    /// The pair that belongs to a 32-byte seed: for tests and simulation.
    static KeyPair from_seed(ByteView seed);
    /// Reads a PEM file (PKCS#8). Throws Error(bad_input) if it is missing, damaged or not Ed25519.
    static KeyPair load(const std::filesystem::path& file);
    /// Loads the file, or generates a pair and writes it there atomically with mode 0600.
    static KeyPair load_or_create(const std::filesystem::path& file);
    void save(const std::filesystem::path& file) const;

    PublicKey public_key() const override;
    Signature sign(ByteView message) const override;

    /// The OpenSSL key, an EVP_PKEY*, for the TLS layer. Owned by this object.
    void* native_handle() const;

  private:
    struct State;
    explicit KeyPair(std::shared_ptr<const State> state) : state_(std::move(state)) {}
    std::shared_ptr<const State> state_;
};

/// True if the signature over the message was made by the owner of the key. Never throws but for want of
/// memory. Each thread remembers some thousand signatures that were good: asking again costs a hash, 1 us,
/// not 0.1 ms.
bool verify(const PublicKey& key, ByteView message, const Signature& signature);

}  // namespace shoal

template <>
struct std::hash<shoal::PeerId> {
    std::size_t operator()(const shoal::PeerId& id) const noexcept {
        std::size_t value = 0;
        for (std::size_t i = 0; i < sizeof value; ++i) value = value << 8 | id.bytes()[i];
        return value;
    }
};
