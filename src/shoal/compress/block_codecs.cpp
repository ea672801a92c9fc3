#include "shoal/compress/block_codecs.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <vector>

#include "shoal/compress/block_header.h"
#include "shoal/compress/blockwise_kernels.h"
#include "shoal/compress/normal_kernels.h"
#include "shoal/compress/not_finite.h"
#include "shoal/compress/quantile_kernels.h"
#include "shoal/compress/uniform_kernels.h"

namespace shoal::compress {

namespace {

/// Encoded: the scales of all blocks (4 bytes each), then the codes of all values (1 byte each).
class Blockwise8Codec final : public Codec {
  public:
    std::string_view name() const override { return "blockwise8"; }
    std::size_t encoded_size(std::size_t count) const override {
        return count + blocks_of(count, kBlockSize) * sizeof(float);
    }
    std::size_t granularity() const override { return kBlockSize; }

  protected:
    Guarantee do_guarantee(std::size_t /*count*/) const override {
        // The worst block has one large value and 4095 halfway between two codes, at 0.0128 of it: that is an
        // error of 0.00488 of its squared norm.
        return {.contraction = 1 / (1 - 0.0049)};
    }
    void do_encode(std::span<const float> values, std::uint8_t* encoded,
                   std::uint64_t /*seed*/) const override {
        std::uint8_t* codes = encoded + blocks_of(values.size(), kBlockSize) * sizeof(float);
        for (std::size_t begin = 0; begin < values.size(); begin += kBlockSize) {
            const std::size_t count = std::min(kBlockSize, values.size() - begin);
            const float scale = encode_block(values.data() + begin, count, codes + begin);
            std::memcpy(encoded + begin / kBlockSize * sizeof(float), &scale, sizeof(float));
        }
    }
    void do_decode(const std::uint8_t* encoded, std::span<float> values) const override {
        const std::uint8_t* codes = encoded + blocks_of(values.size(), kBlockSize) * sizeof(float);
        for (std::size_t begin = 0; begin < values.size(); begin += kBlockSize) {
            const std::size_t count = std::min(kBlockSize, values.size() - begin);
            decode_block(codes + begin, checked_scale(encoded, begin), values.data() + begin, count);
        }
    }
    void do_decode_scaled_add(const std::uint8_t* encoded, float scale, std::span<float> sum) const override {
        const std::uint8_t* codes = encoded + blocks_of(sum.size(), kBlockSize) * sizeof(float);
        for (std::size_t begin = 0; begin < sum.size(); begin += kBlockSize) {
            const std::size_t count = std::min(kBlockSize, sum.size() - begin);
            scaled_add_block(codes + begin, checked_scale(encoded, begin), scale, sum.data() + begin, count);
        }
    }

  private:
    static float checked_scale(const std::uint8_t* encoded, std::size_t begin) {
        return read_scale("blockwise8", encoded, begin / kBlockSize);
    }
};

/// Encoded: the ranges of all blocks (low, high: 8 bytes each), then the codes of all values (1 byte each).
class Uniform8Codec final : public Codec {
  public:
    std::string_view name() const override { return "uniform8"; }
    std::size_t encoded_size(std::size_t count) const override {
        return count + blocks_of(count, kUniformBlock) * sizeof(UniformRange);
    }
    std::size_t granularity() const override { return kUniformBlock; }

  protected:
    Guarantee do_guarantee(std::size_t count) const override {
        // The ends of a block are exact, and their squares add up to at least half that of their distance;
        // every other value is wrong by 1/510 of the distance at most.
        const auto others = static_cast<double>(std::max(std::min(count, kUniformBlock), std::size_t{2}) - 2);
        return {.contraction = 1 / (1 - 2 * others / (510.0 * 510.0))};
    }
    void do_encode(std::span<const float> values, std::uint8_t* encoded,
                   std::uint64_t /*seed*/) const override {
        std::uint8_t* codes = encoded + blocks_of(values.size(), kUniformBlock) * sizeof(UniformRange);
        for (std::size_t begin = 0; begin < values.size(); begin += kUniformBlock) {
            const std::size_t count = std::min(kUniformBlock, values.size() - begin);
            const UniformRange range = encode_uniform(values.data() + begin, count, codes + begin);
            std::memcpy(encoded + begin / kUniformBlock * sizeof(range), &range, sizeof(range));
        }
    }
    void do_decode(const std::uint8_t* encoded, std::span<float> values) const override {
        const std::uint8_t* codes = encoded + blocks_of(values.size(), kUniformBlock) * sizeof(UniformRange);
        for (std::size_t begin = 0; begin < values.size(); begin += kUniformBlock) {
            const std::span<float> block = block_at(values, begin);
            const UniformRange range = read_range(encoded, begin / kUniformBlock);
            if (is_finite(range))
                decode_uniform(codes + begin, range, block.data(), block.size());
            else
                std::fill(block.begin(), block.end(), not_finite_mark());
        }
    }
    void do_decode_scaled_add(const std::uint8_t* encoded, float scale, std::span<float> sum) const override {
        const std::uint8_t* codes = encoded + blocks_of(sum.size(), kUniformBlock) * sizeof(UniformRange);
        for (std::size_t begin = 0; begin < sum.size(); begin += kUniformBlock) {
            const std::span<float> block = block_at(sum, begin);
            const UniformRange range = read_range(encoded, begin / kUniformBlock);
            if (is_finite(range))
                scaled_add_uniform(codes + begin, range, scale, block.data(), block.size());
            else
                spoil(block, scale);
        }
    }

  private:
    static std::span<float> block_at(std::span<float> values, std::size_t begin) {
        return values.subspan(begin, std::min(kUniformBlock, values.size() - begin));
    }
    static bool is_finite(UniformRange range) { return range.low == range.low; }

    static UniformRange read_range(const std::uint8_t* encoded, std::size_t block) {
        const std::uint32_t low = read_bits(encoded, 2 * block), high = read_bits(encoded, 2 * block + 1);
        const UniformRange range{std::bit_cast<float>(low), std::bit_cast<float>(high)};
        const bool marked = low == kNotFiniteBits && high == kNotFiniteBits;
        const bool ordered = is_plain_finite(low) && is_plain_finite(high) && range.low <= range.high;
        if (!marked && !ordered) refuse("uniform8", "a range that is empty or not finite", block);
        return range;
    }
};

/// Encoded, block after block: the codebook (4 bytes an entry; as many entries as the block has values, at
/// most 256), then the codes of its values (1 byte each). Of a block that was not finite all entries are NaN.
class Quantile8Codec final : public Codec {
  public:
    std::string_view name() const override { return "quantile8"; }
    std::size_t encoded_size(std::size_t count) const override {
        return count / kQuantileBlock * size_of_block(kQuantileBlock) + size_of_block(count % kQuantileBlock);
    }
    std::size_t granularity() const override { return kQuantileBlock; }

  protected:
    Guarantee do_guarantee(std::size_t count) const override {
        // A group of g values of one sign keeps at least 1/g of its squared norm in its mean. A group that
        // holds both signs may lose all; its neighbours, of larger magnitudes, keep as much.
        const std::size_t block = std::min(count, kQuantileBlock);
        const std::size_t group = (block + kQuantileCodes - 1) / kQuantileCodes;
        return {.contraction = group == 1 ? 1.0 : 2.0 * static_cast<double>(group)};
    }
    void do_encode(std::span<const float> values, std::uint8_t* encoded,
                   std::uint64_t /*seed*/) const override {
        QuantileFinder finder;
        std::array<float, kQuantileCodes> space;
        for (std::size_t begin = 0; begin < values.size(); begin += kQuantileBlock) {
            const auto block = values.subspan(begin, std::min(kQuantileBlock, values.size() - begin));
            const std::span<float> codebook(space.data(), entries_of(block.size()));
            std::uint8_t* codes = encoded + codebook.size_bytes();
            if (has_not_finite(block)) {
                std::fill(codebook.begin(), codebook.end(), not_finite_mark());
                std::memset(codes, 0, block.size());
            } else {
                finder.find(block, codebook);
                encode_by_codebook(block.data(), block.size(), codebook, codes);
            }
            std::memcpy(encoded, codebook.data(), codebook.size_bytes());
            encoded = codes + block.size();
        }
    }
    void do_decode(const std::uint8_t* encoded, std::span<float> values) const override {
        for_each_block(encoded, values,
                       [](const std::uint8_t* codes, const float* codebook, std::span<float> block) {
                           decode_by_codebook(codes, codebook, block.data(), block.size());
                       });
    }
    void do_decode_scaled_add(const std::uint8_t* encoded, float scale, std::span<float> sum) const override {
        for_each_block(encoded, sum,
                       [scale](const std::uint8_t* codes, const float* codebook, std::span<float> block) {
                           scaled_add_by_codebook(codes, codebook, scale, block.data(), block.size());
                       });
    }

  private:
    using Codebook = std::array<float, kQuantileCodes>;

    static std::size_t entries_of(std::size_t count) { return std::min(count, kQuantileCodes); }
    static std::size_t size_of_block(std::size_t count) { return entries_of(count) * sizeof(float) + count; }

    /// f(codes, codebook, values of the block), with a codebook and codes that have been checked.
    template <typename Function>
    static void for_each_block(const std::uint8_t* encoded, std::span<float> values, Function f) {
        for (std::size_t begin = 0; begin < values.size(); begin += kQuantileBlock) {
            const auto block = values.subspan(begin, std::min(kQuantileBlock, values.size() - begin));
            const std::size_t entries = entries_of(block.size());
            Codebook codebook{};
            read_codebook(encoded, std::span(codebook).first(entries), begin / kQuantileBlock);
            const std::uint8_t* codes = encoded + entries * sizeof(float);
            if (entries < kQuantileCodes && *std::max_element(codes, codes + block.size()) >= entries)
                refuse("quantile8", "a code beyond the codebook", begin / kQuantileBlock);
            f(codes, codebook.data(), block);
            encoded = codes + block.size();
        }
    }

    static void read_codebook(const std::uint8_t* encoded, std::span<float> codebook, std::size_t block) {
        const bool marked = read_bits(encoded, 0) == kNotFiniteBits;
        for (std::size_t k = 0; k < codebook.size(); ++k) {
            const std::uint32_t bits = read_bits(encoded, k);
            codebook[k] = std::bit_cast<float>(bits);
            const bool follows = is_plain_finite(bits) && (k == 0 || codebook[k - 1] <= codebook[k]);
            if (marked ? bits != kNotFiniteBits : !follows)
                refuse("quantile8", "a codebook that is not ascending or not finite", block);
        }
    }
};

/// Encoded as normal_kernels.h says.
class Blockwise4Codec final : public Codec {
  public:
    std::string_view name() const override { return "blockwise4"; }
    std::size_t encoded_size(std::size_t count) const override {
        return size_of_scales(count) + count / 2 + count % 2;
    }
    std::size_t granularity() const override { return kNormalBlock; }

  protected:
    Guarantee do_guarantee(std::size_t /*count*/) const override {
        // The worst block has one large value and 63 halfway between zero and the code below it: that is an
        // error of 0.1155 of its squared norm.
        return {.contraction = 1.131};
    }
    void do_encode(std::span<const float> values, std::uint8_t* encoded,
                   std::uint64_t /*seed*/) const override {
        encode_normal(values.data(), values.size(), encoded, encoded + size_of_scales(values.size()));
    }
    void do_decode(const std::uint8_t* encoded, std::span<float> values) const override {
        check(encoded, values.size());
        decode_normal(encoded, encoded + size_of_scales(values.size()), values.data(), values.size());
    }
    void do_decode_scaled_add(const std::uint8_t* encoded, float scale, std::span<float> sum) const override {
        check(encoded, sum.size());
        scaled_add_normal(encoded, encoded + size_of_scales(sum.size()), scale, sum.data(), sum.size());
    }

  private:
    static std::size_t size_of_scales(std::size_t count) {
        return blocks_of(count, kNormalBlock) * sizeof(float);
    }

    void check(const std::uint8_t* encoded, std::size_t count) const {
        for (std::size_t block = 0; block < blocks_of(count, kNormalBlock); ++block)
            read_scale(name(), encoded, block);
        if (count % 2 != 0 && encoded[encoded_size(count) - 1] >> 4 != 0)
            refuse(name(), "half a byte too many", count / kNormalBlock);
    }
};

}  // namespace

std::unique_ptr<const Codec> make_blockwise8() {
    return std::make_unique<Blockwise8Codec>();
}

std::unique_ptr<const Codec> make_uniform8() {
    return std::make_unique<Uniform8Codec>();
}

std::unique_ptr<const Codec> make_quantile8() {
    return std::make_unique<Quantile8Codec>();
}

std::unique_ptr<const Codec> make_blockwise4() {
    return std::make_unique<Blockwise4Codec>();
}

}  // namespace shoal::compress
