// The codec power_sgd, and its sender with memory.
//
// The vector is a matrix M of rows x columns, its values row by row, zeros behind the last. A start Q
// (columns x rank) gives P = M Q, made orthonormal, and Q = M^T P: P and Q travel, and P Q^T is decoded. That
// is the projection of M on the space that P spans, so it is never longer than M. From a random Q it keeps
// rank / columns of the squared norm in expectation; from the Q of the vector before, what that knew of the
// large directions (Vogels, Karimireddy, Jaggi 2019, "PowerSGD: Practical Low-Rank Gradient Compression").
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "shoal/compress/codec.h"

namespace shoal::compress {

inline constexpr std::size_t kMaximumRank = 64;

/// How a vector is a matrix. Rows and columns are either both given, and a vector has exactly rows * columns
/// values, or both 0: then columns is the square root of the number of values, rounded up, and there are as
/// many rows as it takes. Where P and Q would be no smaller than the values, the values travel themselves.
struct PowerSgdShape {
    std::size_t rank = 1, rows = 0, columns = 0;
};

/// Starts from a Q drawn by the seed.
std::unique_ptr<const Codec> make_power_sgd(std::string name, PowerSgdShape shape);

/// A sender that starts from the Q of the vector before (warm start). What it writes is decoded by the codec
/// of the same name. One for each vector that is sent again and again; not thread-safe.
class PowerSgd {
  public:
    /// @param name   power_sgd:RANK or power_sgd:RANK@ROWSxCOLUMNS
    /// @param count  of values of every vector
    /// Throws Error(invalid_argument) as make_codec and encoded_size do, and on a name of another codec.
    PowerSgd(std::string_view name, std::size_t count);

    /// The codec that decodes; valid as long as this object.
    const std::shared_ptr<const Codec>& codec() const { return codec_; }
    std::size_t count() const { return count_; }

    /// As Codec::encode(). The seed draws what memory does not hold: all of Q the first time, later the
    /// directions that were zero. A vector that is not finite leaves the memory as it was.
    void encode(std::span<const float> values, MutableByteView encoded, std::uint64_t seed);
    Bytes encode(std::span<const float> values, std::uint64_t seed);

    /// Forgets Q: the next vector starts at random.
    void reset();

    /// Q, for checkpoints: columns * rank numbers, the same number always (0 where values travel themselves).
    std::span<const float> state() const { return q_; }
    /// Throws Error(invalid_argument) on another number of floats, or on one that is not finite.
    void restore(std::span<const float> state);

  private:
    std::shared_ptr<const Codec> codec_;
    std::size_t count_;
    std::vector<float> q_;  // column after column; zeros are drawn anew
};

}  // namespace shoal::compress
