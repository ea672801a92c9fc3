// How vectors of doubles become messages: cut into shares, each encoded by itself.
#pragma once

#include <memory>
#include <string>

#include "shoal/base/bytes.h"
#include "shoal/compress/codec.h"
#include "shoal/variational/exchange.h"
#include "shoal/variational/vectors.h"

namespace shoal::variational {

/// The name of what sends doubles as they are: refreshes, and methods without compression.
inline constexpr const char* kExact = "fp64";

/// What the theory needs to know of a compressed vector.
struct Quality {
    bool unbiased = false;       ///< E Q(x) = x and E ||Q(x)||^2 <= q ||x||^2
    double variance_factor = 0;  ///< q >= 1, if unbiased
    bool contractive = false;    ///< E ||C(x) - x||^2 <= (1 - 1 / delta) ||x||^2
    double contraction = 0;      ///< delta >= 1, if contractive
    double density = 1;          ///< 1 / beta: values sent of those that there are
};

/// Compresses the vectors of one sender. Immutable; copies share their codec.
class Compression {
  public:
    /// @param name    kExact, or a codec's (compress/codec.h). 'perm_k' and 'perm_k+CODEC' stand for the part
    ///                of a sender among so many.
    /// Throws Error(invalid_argument) for an unknown name.
    Compression(const std::string& name, std::size_t sender, std::size_t senders, std::vector<Share> shares);

    /// Bytes of one share.
    std::size_t encoded_size(std::size_t share) const;
    /// Values of one share that are sent.
    std::size_t sent_values(std::size_t share) const;

    /// Encodes one share of a vector. `values` has the share's size.
    /// @param seed  of what is random in it; senders that belong together (perm_k) are given the same one
    Bytes encode(std::size_t share, std::span<const double> values, std::uint64_t seed) const;
    /// Throws Error(protocol_violation) on bytes that encode() never writes, and on numbers that are not
    /// finite. `values` may be partly written then.
    void decode(std::size_t share, ByteView encoded, std::span<double> values) const;

    const std::vector<Share>& shares() const { return shares_; }
    /// True if all senders must be given the same seed: what they keep of a vector fits together.
    bool shares_seed() const { return shares_seed_; }
    /// The worst of all shares, but for the density, which is that of the whole.
    Quality quality() const;

  private:
    std::vector<Share> shares_;
    std::shared_ptr<const compress::Codec> codec_;  // null: exact
    bool shares_seed_ = false;
};

}  // namespace shoal::variational
