// Codecs: how a vector of floats travels. All members of an all-reduce use the same codec; equal floats (and
// equal seeds, where a codec draws lots) give equal bytes, and equal bytes equal floats, on every machine and
// every SIMD path.
//
//   name         bytes a value      what it keeps
//   fp32         4                  everything, bit by bit
//   fp16         2                  11 significant bits, up to 65504; smallest step 6e-8
//   bf16         2                  8 significant bits, the whole range of float
//   blockwise8   1 + 4 per 4096     the dynamic 8-bit map of bitsandbytes (Dettmers et al., "8-bit Optimizers
//                                   via Block-wise Quantization"), scaled to the largest value of each 4096:
//                                   small and large values alike to some percent (dynamic_map.h)
//   uniform8     1 + 8 per 4096     256 equal steps from the lowest to the highest value of each 4096: every
//                                   value within 1/510 of that range (uniform_kernels.h)
//   quantile8    1 + 1024 per       a codebook of 256 means, one for each 256th part of the sorted values of
//                16384 (6.25 %)     16384: most exact where most values are; slow (quantile_kernels.h)
//   blockwise4   1/2 + 4 per 64     the 4-bit NormalFloat of QLoRA, scaled to the largest value of each 64:
//                                   every value within 0.152 of that (normal_map.h)
//   natural      9/8                sign and exponent: rounded at random to one of the two nearest powers of
//                                   two ("natural compression", Horvath et al.)
//   qsgd:S       w/8 + 4 per 512,   rounded at random to one of S equal steps up to the Euclidean norm of
//   each
//                w bits for 2S + 1  512 (Alistarh et al., "QSGD"); 1 <= S <= 127
//   sign         1/8 + 4 per 1024   the signs, times the mean magnitude of each 1024
//   rand_k:P     4 P, and 8         a random share P of the values, divided by P; the seed travels instead of
//                                   the indices
//   top_k:P      (4 + index) P      the share P of the values that are largest in magnitude, unscaled; an
//   index
//                                   takes about 2 + log2(1/P) bits, never more than 1/P (index_set.h)
//   perm_k:M/N   4/N, and 8         the part of device M of N (from 0): a random N-th of the values, times N.
//   Who
//                                   shares a seed gets parts that add up to the whole
//   power_sgd:R  (4 R (rows +       the vector as a matrix, nearly square unless power_sgd:R@ROWSxCOLUMNS
//   says
//                columns) + 4) /    how it lies: its projection on R directions (Vogels et al., "PowerSGD"),
//                count              found by one power iteration from a random start (power_sgd.h)
//
// rand_k, top_k and perm_k may send the values they keep in another codec: top_k:0.01+blockwise8.
//
//   name          unbiased, variance factor q       contractive, delta
//   fp32          1                                 1
//   fp16, bf16                                      1/(1 - 2^-22), 1/(1 - 2^-16)
//   blockwise8                                      1.005
//   uniform8                                        1/(1 - (n - 2)/130050), n = 4096 or less
//   quantile8                                       2 ceil(n/256), n = 16384 or less; 1 up to 256 values
//   blockwise4                                      1.131
//   natural       9/8
//   qsgd:S        1 + min(n/S^2, sqrt(n)/S),
//                 n = 512 or less
//   sign                                            n = 1024 or less
//   rand_k        n/k (times that of +CODEC)
//   top_k                                           n/k (times that of +CODEC)
//   perm_k        N, or N / floor(N/n) (likewise)
//   power_sgd:R                                     columns / R; 1 where the values travel as they are
//
// These hold up to the rounding of floats, for vectors whose values are zero or within the range of the
// format's normal numbers (fp16: 6.2e-5 to 65504; bf16 and all others: 1.2e-38 to 1.7e38).
//
// Uniform8 is not hivemind's Uniform8BitQuantization, which takes mean and deviation of a whole tensor and
// cuts what lies beyond six deviations: the ends of a block do not depend on the order in which they are
// looked for, need no second message before the first, and bound the error of every value.
//
// What is not finite stays visible, so that a guard behind the decoder sees it: NaN stays NaN, and infinity
// stays infinity in fp32, fp16, bf16 and top_k; in natural either becomes NaN; in the others a NaN or an
// infinity makes its whole block NaN, or all that is kept of the vector where there are no blocks (a perm_k
// part that keeps nothing shows nothing). A finite
// value beyond a format's range becomes the largest finite one of its sign.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string_view>

#include "shoal/base/bytes.h"

namespace shoal::compress {

/// What a codec promises of a vector x of `count` values, whatever they are (see the table above).
struct Guarantee {
    /// q >= 1 if the codec is unbiased: E Q(x) = x and E |Q(x)|^2 <= q |x|^2.
    std::optional<double> variance_factor = std::nullopt;
    /// delta >= 1 if it is contractive: E |C(x) - x|^2 <= (1 - 1/delta) |x|^2.
    std::optional<double> contraction = std::nullopt;
    /// Encoded bits for each bit of fp32, so 8 encoded_size(count) / (32 count); all bytes count: indices,
    /// scales and seeds, too. 1 for no values.
    double density = 1;
};

/// The granularity of codecs whose vectors cannot be cut.
inline constexpr std::size_t kUncuttable = std::numeric_limits<std::size_t>::max();

/// Stateless, so one object serves any number of threads at once. None of the functions blocks.
class Codec {
  public:
    virtual ~Codec() = default;

    /// The name that make_codec knows it by.
    virtual std::string_view name() const = 0;

    /// Exact number of bytes that `count` values take, at most count times what one takes. Known to sender
    /// and receiver alike, so it never travels. Throws Error(invalid_argument) where the codec cannot encode
    /// so many (a matrix of another size; 2^32 values or more where indices have 32 bits); then all functions
    /// below do.
    virtual std::size_t encoded_size(std::size_t count) const = 0;

    /// How many of `count` values travel; the others decode as zero.
    virtual std::size_t sent_values(std::size_t count) const { return count; }

    /// Throws as encoded_size().
    Guarantee guarantee(std::size_t count) const;

    /// A vector may be cut at multiples of this many values, and the pieces encoded one by one, without any
    /// decoded value changing. 1 for the casts, a block for those that work in blocks; kUncuttable
    /// for those that look at the whole vector or draw lots.
    virtual std::size_t granularity() const { return 1; }

    /// Writes all of `encoded`. Throws Error(invalid_argument) unless it has encoded_size(values.size())
    /// bytes. The two must not overlap. No alignment is needed.
    /// @param seed  of the lots that the codec draws, if any. Errors average out over vectors only if each is
    ///              encoded with a seed of its own. The decoder does not need it.
    void encode(std::span<const float> values, MutableByteView encoded, std::uint64_t seed) const;
    /// The same with seed 0: for codecs without lots.
    void encode(std::span<const float> values, MutableByteView encoded) const { encode(values, encoded, 0); }

    /// The same into a fresh buffer.
    Bytes encode(std::span<const float> values, std::uint64_t seed) const;
    Bytes encode(std::span<const float> values) const { return encode(values, 0); }

    /// Writes all of `values`, from bytes of any origin. Throws Error(protocol_violation) on a size other
    /// than encoded_size(values.size()), or on bytes that encode() never writes (a negative or infinite
    /// scale, a codebook out of order, an index too large); `values` may be partly written then. Values that
    /// decode may be NaN or infinite: the caller looks at them.
    void decode(ByteView encoded, std::span<float> values) const;

    /// sum[i] += scale * decoded[i], in one pass and without a buffer: a rounded product, then a rounded sum,
    /// exactly as decode() and two loops would give, except that values that did not travel leave their sums
    /// untouched. Throws as decode(); `sum` may be partly changed then.
    void decode_scaled_add(ByteView encoded, float scale, std::span<float> sum) const;

  protected:
    /// The optional parts of the guarantee, for count > 0.
    virtual Guarantee do_guarantee(std::size_t count) const = 0;
    // The same as the public ones with sizes checked and the floating-point mode set.
    virtual void do_encode(std::span<const float> values, std::uint8_t* encoded,
                           std::uint64_t seed) const = 0;
    virtual void do_decode(const std::uint8_t* encoded, std::span<float> values) const = 0;
    virtual void do_decode_scaled_add(const std::uint8_t* encoded, float scale,
                                      std::span<float> sum) const = 0;
};

/// Throws Error(invalid_argument) that lists the known names when the name is none of them, and says what a
/// parameter may be when it is wrong.
std::unique_ptr<const Codec> make_codec(std::string_view name);

/// The codecs that an all-reduce may use, in the order of the table above: fp32 to blockwise4.
std::span<const std::string_view> codec_names();

/// One name of every kind there is, those with parameters with ordinary ones, in the order of the table.
std::span<const std::string_view> codec_examples();

/// All names with their parameters in capitals, separated by commas, for help texts and messages.
std::string_view known_codecs();

}  // namespace shoal::compress
