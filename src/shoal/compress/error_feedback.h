// Error feedback: what compression left out of one vector is added to the next.
#pragma once

#include <memory>
#include <vector>

#include "shoal/compress/codec.h"
#include "shoal/compress/power_sgd.h"

namespace shoal::compress {

/// One stream of vectors from one sender. Whatever the codec leaves out is kept in the residual, and sent
/// later: at any time, the sum of all vectors = the sum of all that was decoded + the residual, up to the
/// rounding of floats. Not thread-safe.
class ErrorFeedback {
  public:
    /// @param count  of values of every vector
    /// Throws Error(invalid_argument) unless the codec is contractive: around another one, the residual would
    /// grow without bound.
    ErrorFeedback(std::shared_ptr<const Codec> codec, std::size_t count);
    /// Around PowerSGD with a warm start. The sender's own state is saved by itself.
    explicit ErrorFeedback(std::shared_ptr<PowerSgd> sender);

    /// Encodes values + residual as Codec::encode() does; the residual becomes what that leaves out. A value
    /// that is not finite is sent as such, and is not remembered: its residual starts again at 0. In a block
    /// that such a value spoils, the others stay in the residual whole. Nothing has changed if it throws.
    void encode(std::span<const float> values, MutableByteView encoded, std::uint64_t seed = 0);
    Bytes encode(std::span<const float> values, std::uint64_t seed = 0);

    /// A message of encode() did not arrive, as far as one knows: what it carried goes back into the residual
    /// and is sent with later vectors. For any message, once, in any order. Throws as Codec::decode().
    void not_delivered(ByteView encoded);

    /// Forgets the residual: for parameters that have changed otherwise (a state taken from another peer).
    void reset();

    /// The residual, for checkpoints: `count` numbers.
    std::span<const float> residual() const { return residual_; }
    /// Throws Error(invalid_argument) on another number of floats, or on one that is not finite.
    void restore(std::span<const float> residual);

    const Codec& codec() const { return *codec_; }

  private:
    std::shared_ptr<const Codec> codec_;
    std::shared_ptr<PowerSgd> sender_;  // null: the codec itself
    std::vector<float> residual_, sum_, decoded_;
};

}  // namespace shoal::compress
