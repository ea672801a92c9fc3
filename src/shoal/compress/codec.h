// Codecs: how a vector of floats travels. All members of an all-reduce use the same codec; equal floats give
// equal bytes, and equal bytes equal floats, on every machine and every SIMD path.
//
//   name        bytes a value      what it keeps
//   fp32        4                  everything, bit by bit
//   fp16        2                  11 significant bits, up to 65504; smallest step 6e-8
//   bf16        2                  8 significant bits, the whole range of float
//   blockwise8  1 + 4 per 4096     the dynamic 8-bit map of bitsandbytes (Dettmers et al., "8-bit Optimizers
//                                  via Block-wise Quantization"), scaled to the largest value of each 4096:
//                                  small and large values alike to some percent (dynamic_map.h)
//   uniform8    1 + 8 per 4096     256 equal steps from the lowest to the highest value of each 4096: every
//                                  value within 1/510 of that range (uniform_kernels.h)
//   quantile8   1 + 1024 per       a codebook of 256 means, one for each 256th part of the sorted values of
//               16384 (6.25 %)     16384: most exact where most values are; slow (quantile_kernels.h)
//   blockwise4  1/2 + 4 per 64     the 4-bit NormalFloat of QLoRA, scaled to the largest value of each 64:
//                                  every value within 0.152 of that (normal_map.h)
//
// Uniform8 is not hivemind's Uniform8BitQuantization, which takes mean and deviation of a whole tensor and
// cuts what lies beyond six deviations: the ends of a block do not depend on the order in which they are
// looked for, need no second message before the first, and bound the error of every value.
//
// What is not finite stays visible, so that a guard behind the decoder sees it: NaN stays NaN, and infinity
// stays infinity in fp32, fp16 and bf16; in the others a NaN or an infinity makes its whole block NaN. A
// finite value beyond a format's range becomes the largest finite one of its sign.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string_view>

#include "shoal/base/bytes.h"

namespace shoal::compress {

/// Stateless, so one object serves any number of threads at once. None of the functions blocks.
class Codec {
  public:
    virtual ~Codec() = default;

    /// The name that make_codec knows it by.
    virtual std::string_view name() const = 0;

    /// Exact number of bytes that `count` values take, at most count times what one takes. Known to sender
    /// and receiver alike, so it never travels.
    virtual std::size_t encoded_size(std::size_t count) const = 0;

    /// A vector may be cut at multiples of this many values, and the pieces encoded one by one, without any
    /// decoded value changing. 1 for the casts, a block for the others.
    virtual std::size_t granularity() const { return 1; }

    /// Writes all of `encoded`. Throws Error(invalid_argument) unless it has encoded_size(values.size())
    /// bytes. The two must not overlap. No alignment is needed.
    void encode(std::span<const float> values, MutableByteView encoded) const;

    /// The same into a fresh buffer.
    Bytes encode(std::span<const float> values) const;

    /// Writes all of `values`, from bytes of any origin. Throws Error(protocol_violation) on a size other
    /// than encoded_size(values.size()), or on bytes that encode() never writes (a negative or infinite
    /// scale, a codebook out of order); `values` may be partly written then. Values that decode may be NaN or
    /// infinite: the caller looks at them.
    void decode(ByteView encoded, std::span<float> values) const;

    /// sum[i] += scale * decoded[i], in one pass and without a buffer: a rounded product, then a rounded sum,
    /// exactly as decode() and two loops would give. Throws as decode(); `sum` may be partly changed then.
    void decode_scaled_add(ByteView encoded, float scale, std::span<float> sum) const;

  protected:
    // The same with sizes checked and the floating-point mode set.
    virtual void do_encode(std::span<const float> values, std::uint8_t* encoded) const = 0;
    virtual void do_decode(const std::uint8_t* encoded, std::span<float> values) const = 0;
    virtual void do_decode_scaled_add(const std::uint8_t* encoded, float scale,
                                      std::span<float> sum) const = 0;
};

/// Throws Error(invalid_argument) that lists the known names when the name is none of them.
std::unique_ptr<const Codec> make_codec(std::string_view name);

/// All names, in the order of the table above.
std::span<const std::string_view> codec_names();

}  // namespace shoal::compress
