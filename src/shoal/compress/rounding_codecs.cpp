#include "shoal/compress/rounding_codecs.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>

#include "shoal/base/error.h"
#include "shoal/compress/block_header.h"
#include "shoal/compress/counter_random.h"
#include "shoal/compress/rounding_kernels.h"
#include "shoal/compress/selection_kernels.h"

namespace shoal::compress {

namespace {

/// Values that share a norm.
constexpr std::size_t kStepsBlock = 512;
/// Values that share a mean magnitude.
constexpr std::size_t kSignBlock = 1024;

/// Of bits that fill bytes: true if what fills the last byte is zero.
bool ends_clean(const std::uint8_t* bytes, std::size_t bits) {
    return bits % 8 == 0 || bytes[bits / 8] >> bits % 8 == 0;
}

void check_lots(std::string_view codec, std::size_t count) {
    if (count < kMaximumPositions) return;
    throw Error(ErrorKind::invalid_argument,
                std::string(codec) + ": a vector of 2^32 values or more; cut it into several");
}

/// Encoded: the exponents (a byte each), then the signs (a bit each).
class NaturalCodec final : public Codec {
  public:
    std::string_view name() const override { return "natural"; }
    std::size_t encoded_size(std::size_t count) const override {
        check_lots(name(), count);
        return count + (count + 7) / 8;
    }
    std::size_t granularity() const override { return kUncuttable; }

  protected:
    Guarantee do_guarantee(std::size_t /*count*/) const override { return {.variance_factor = 9.0 / 8}; }

    void do_encode(std::span<const float> values, std::uint8_t* encoded, std::uint64_t seed) const override {
        const CounterKeys keys = counter_keys(seed);
        constexpr std::size_t kPiece = 4096;  // is still in the cache when its signs are read
        for (std::size_t begin = 0; begin < values.size(); begin += kPiece) {
            const std::size_t count = std::min(kPiece, values.size() - begin);
            encode_natural(values.data() + begin, count, keys, begin, encoded + begin);
            encode_signs(values.data() + begin, count, encoded + values.size() + begin / 8);
        }
    }
    void do_decode(const std::uint8_t* encoded, std::span<float> values) const override {
        decode_natural(encoded, checked_signs(encoded, values.size()), values.data(), values.size());
    }
    void do_decode_scaled_add(const std::uint8_t* encoded, float scale, std::span<float> sum) const override {
        scaled_add_natural(encoded, checked_signs(encoded, sum.size()), scale, sum.data(), sum.size());
    }

  private:
    static const std::uint8_t* checked_signs(const std::uint8_t* encoded, std::size_t count) {
        if (!ends_clean(encoded + count, count)) refuse("natural", "signs of too many values", 0);
        return encoded + count;
    }
};

/// Encoded: the norms of all blocks (4 bytes each), then the codes of all values, of as many bits each as
/// 2 * steps takes, lowest bit first.
class QsgdCodec final : public Codec {
  public:
    QsgdCodec(std::string name, unsigned steps)
        : name_(std::move(name)), steps_(steps), width_(static_cast<unsigned>(std::bit_width(2 * steps))) {}

    std::string_view name() const override { return name_; }
    std::size_t encoded_size(std::size_t count) const override {
        check_lots(name_, count);
        return blocks_of(count, kStepsBlock) * sizeof(float) + (count * width_ + 7) / 8;
    }
    std::size_t granularity() const override { return kUncuttable; }

  protected:
    Guarantee do_guarantee(std::size_t count) const override {
        const auto n = static_cast<double>(std::min(count, kStepsBlock)), s = static_cast<double>(steps_);
        return {.variance_factor = 1 + std::min(n / (s * s), std::sqrt(n) / s)};
    }

    void do_encode(std::span<const float> values, std::uint8_t* encoded, std::uint64_t seed) const override {
        const CounterKeys keys = counter_keys(seed);
        Codes codes;
        for_each_block(values.size(), [&](std::size_t block, std::size_t begin, std::size_t count) {
            const float norm = euclidean_norm(values.data() + begin, count);
            std::memcpy(encoded + block * sizeof(float), &norm, sizeof(norm));
            if (norm > 0)
                encode_steps(values.data() + begin, count, norm, steps_, keys, begin, codes.data());
            else  // all zeros, or NaN
                std::fill_n(codes.data(), count, static_cast<std::uint8_t>(steps_));
            pack(codes, count, codes_at(encoded, values.size(), begin));
        });
    }
    void do_decode(const std::uint8_t* encoded, std::span<float> values) const override {
        Codes codes;
        for_each_block(values.size(), [&](std::size_t block, std::size_t begin, std::size_t count) {
            const float norm = read_block(encoded, values.size(), block, begin, count, codes);
            if (norm == norm)
                decode_steps(codes.data(), norm, steps_, values.data() + begin, count);
            else
                std::fill_n(values.data() + begin, count, norm);
        });
    }
    void do_decode_scaled_add(const std::uint8_t* encoded, float scale, std::span<float> sum) const override {
        Codes codes;
        for_each_block(sum.size(), [&](std::size_t block, std::size_t begin, std::size_t count) {
            const float norm = read_block(encoded, sum.size(), block, begin, count, codes);
            if (norm == norm)
                scaled_add_steps(codes.data(), norm, steps_, scale, sum.data() + begin, count);
            else
                spoil(sum.subspan(begin, count), scale);
        });
    }

  private:
    using Codes = std::array<std::uint8_t, kStepsBlock>;

    template <typename Function>
    static void for_each_block(std::size_t count, Function f) {
        for (std::size_t block = 0, begin = 0; begin < count; ++block, begin += kStepsBlock)
            f(block, begin, std::min(kStepsBlock, count - begin));
    }

    /// Where the codes of a block begin; Byte is const or not.
    template <typename Byte>
    Byte* codes_at(Byte* encoded, std::size_t values, std::size_t begin) const {
        return encoded + blocks_of(values, kStepsBlock) * sizeof(float) + begin * width_ / 8;
    }

    // Eight codes fill as many bytes as a code has bits.

    void pack(Codes& codes, std::size_t count, std::uint8_t* bytes) const {
        std::fill(codes.begin() + static_cast<std::ptrdiff_t>(count), codes.end(), std::uint8_t{0});
        for (std::size_t i = 0; i < count; i += 8) {
            std::uint64_t word = 0;
            for (unsigned j = 0; j < 8; ++j) word |= static_cast<std::uint64_t>(codes[i + j]) << j * width_;
            const std::size_t bits = std::min<std::size_t>(8, count - i) * width_;
            std::memcpy(bytes, &word, (bits + 7) / 8);
            bytes += width_;
        }
    }

    /// Unpacks and checks the codes, and returns the norm.
    float read_block(const std::uint8_t* encoded, std::size_t values, std::size_t block, std::size_t begin,
                     std::size_t count, Codes& codes) const {
        const std::uint8_t* bytes = codes_at(encoded, values, begin);
        const std::uint64_t mask = (std::uint64_t{1} << width_) - 1;
        std::uint8_t largest = 0;
        for (std::size_t i = 0; i < count; i += 8) {
            const std::size_t bits = std::min<std::size_t>(8, count - i) * width_;
            std::uint64_t word = 0;
            std::memcpy(&word, bytes, (bits + 7) / 8);
            for (unsigned j = 0; j < 8; ++j) {
                codes[i + j] = static_cast<std::uint8_t>(word >> j * width_ & mask);
                largest = std::max(largest, codes[i + j]);
            }
            bytes += width_;
        }
        if (largest > 2 * steps_ || !ends_clean(codes_at(encoded, values, begin), count * width_))
            refuse(name_, "a code beyond the last step", block);
        return read_scale(name_, encoded, block);
    }

    std::string name_;
    unsigned steps_, width_;
};

/// Encoded: the mean magnitudes of all blocks (4 bytes each), then the signs of all values (a bit each).
class SignCodec final : public Codec {
  public:
    std::string_view name() const override { return "sign"; }
    std::size_t encoded_size(std::size_t count) const override {
        return blocks_of(count, kSignBlock) * sizeof(float) + (count + 7) / 8;
    }
    std::size_t granularity() const override { return kSignBlock; }

  protected:
    Guarantee do_guarantee(std::size_t count) const override {
        // With n values of mean magnitude m, the squared error is |x|^2 - n m^2, and n m >= |x|.
        return {.contraction = static_cast<double>(std::min(count, kSignBlock))};
    }

    void do_encode(std::span<const float> values, std::uint8_t* encoded,
                   std::uint64_t /*seed*/) const override {
        for_each_block(values.size(), [&](std::size_t block, std::size_t begin, std::size_t count) {
            const float scale = mean_magnitude(values.data() + begin, count);
            std::memcpy(encoded + block * sizeof(float), &scale, sizeof(scale));
            encode_signs(values.data() + begin, count, encoded + bits_at(values.size(), begin));
        });
    }
    void do_decode(const std::uint8_t* encoded, std::span<float> values) const override {
        check_end(encoded, values.size());
        for_each_block(values.size(), [&](std::size_t block, std::size_t begin, std::size_t count) {
            decode_signs(encoded + bits_at(values.size(), begin), read_scale(name(), encoded, block),
                         values.data() + begin, count);
        });
    }
    void do_decode_scaled_add(const std::uint8_t* encoded, float scale, std::span<float> sum) const override {
        check_end(encoded, sum.size());
        for_each_block(sum.size(), [&](std::size_t block, std::size_t begin, std::size_t count) {
            scaled_add_signs(encoded + bits_at(sum.size(), begin), read_scale(name(), encoded, block), scale,
                             sum.data() + begin, count);
        });
    }

  private:
    template <typename Function>
    static void for_each_block(std::size_t count, Function f) {
        for (std::size_t block = 0, begin = 0; begin < count; ++block, begin += kSignBlock)
            f(block, begin, std::min(kSignBlock, count - begin));
    }
    static std::size_t bits_at(std::size_t values, std::size_t begin) {
        return blocks_of(values, kSignBlock) * sizeof(float) + begin / 8;
    }
    static void check_end(const std::uint8_t* encoded, std::size_t count) {
        if (!ends_clean(encoded + bits_at(count, 0), count))
            refuse("sign", "signs of too many values", count / kSignBlock);
    }
};

}  // namespace

std::unique_ptr<const Codec> make_natural() {
    return std::make_unique<NaturalCodec>();
}

std::unique_ptr<const Codec> make_qsgd(std::string name, unsigned steps) {
    return std::make_unique<QsgdCodec>(std::move(name), steps);
}

std::unique_ptr<const Codec> make_sign() {
    return std::make_unique<SignCodec>();
}

}  // namespace shoal::compress
