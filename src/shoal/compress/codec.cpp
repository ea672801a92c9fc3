#include "shoal/compress/codec.h"

#include <array>
#include <cstring>
#include <string>

#include "shoal/base/error.h"
#include "shoal/compress/blockwise_kernels.h"
#include "shoal/compress/cast_kernels.h"
#include "shoal/compress/exact_floating_point.h"

namespace shoal::compress {

namespace {

class Fp32Codec final : public Codec {
  public:
    std::string_view name() const override { return "fp32"; }
    std::size_t encoded_size(std::size_t count) const override { return count * sizeof(float); }

  protected:
    void do_encode(std::span<const float> values, std::uint8_t* encoded) const override {
        if (!values.empty()) std::memcpy(encoded, values.data(), values.size_bytes());
    }
    void do_decode(const std::uint8_t* encoded, std::span<float> values) const override {
        if (!values.empty()) std::memcpy(values.data(), encoded, values.size_bytes());
    }
    void do_decode_scaled_add(const std::uint8_t* encoded, float scale, std::span<float> sum) const override {
        scaled_add_fp32(encoded, scale, sum.data(), sum.size());
    }
};

class Fp16Codec final : public Codec {
  public:
    std::string_view name() const override { return "fp16"; }
    std::size_t encoded_size(std::size_t count) const override { return count * 2; }

  protected:
    void do_encode(std::span<const float> values, std::uint8_t* encoded) const override {
        encode_fp16(values.data(), values.size(), encoded);
    }
    void do_decode(const std::uint8_t* encoded, std::span<float> values) const override {
        decode_fp16(encoded, values.data(), values.size());
    }
    void do_decode_scaled_add(const std::uint8_t* encoded, float scale, std::span<float> sum) const override {
        scaled_add_fp16(encoded, scale, sum.data(), sum.size());
    }
};

class Bf16Codec final : public Codec {
  public:
    std::string_view name() const override { return "bf16"; }
    std::size_t encoded_size(std::size_t count) const override { return count * 2; }

  protected:
    void do_encode(std::span<const float> values, std::uint8_t* encoded) const override {
        encode_bf16(values.data(), values.size(), encoded);
    }
    void do_decode(const std::uint8_t* encoded, std::span<float> values) const override {
        decode_bf16(encoded, values.data(), values.size());
    }
    void do_decode_scaled_add(const std::uint8_t* encoded, float scale, std::span<float> sum) const override {
        scaled_add_bf16(encoded, scale, sum.data(), sum.size());
    }
};

/// Encoded: the scales of all blocks (4 bytes each), then the codes of all values (1 byte each).
class Blockwise8Codec final : public Codec {
  public:
    std::string_view name() const override { return "blockwise8"; }
    std::size_t encoded_size(std::size_t count) const override {
        return count + blocks(count) * sizeof(float);
    }
    std::size_t granularity() const override { return kBlockSize; }

  protected:
    void do_encode(std::span<const float> values, std::uint8_t* encoded) const override {
        std::uint8_t* codes = encoded + blocks(values.size()) * sizeof(float);
        for (std::size_t begin = 0; begin < values.size(); begin += kBlockSize) {
            const std::size_t count = std::min(kBlockSize, values.size() - begin);
            const float scale = encode_block(values.data() + begin, count, codes + begin);
            std::memcpy(encoded + begin / kBlockSize * sizeof(float), &scale, sizeof(float));
        }
    }
    void do_decode(const std::uint8_t* encoded, std::span<float> values) const override {
        const std::uint8_t* codes = encoded + blocks(values.size()) * sizeof(float);
        for (std::size_t begin = 0; begin < values.size(); begin += kBlockSize) {
            const std::size_t count = std::min(kBlockSize, values.size() - begin);
            decode_block(codes + begin, checked_scale(encoded, begin), values.data() + begin, count);
        }
    }
    void do_decode_scaled_add(const std::uint8_t* encoded, float scale, std::span<float> sum) const override {
        const std::uint8_t* codes = encoded + blocks(sum.size()) * sizeof(float);
        for (std::size_t begin = 0; begin < sum.size(); begin += kBlockSize) {
            const std::size_t count = std::min(kBlockSize, sum.size() - begin);
            scaled_add_block(codes + begin, checked_scale(encoded, begin), scale, sum.data() + begin, count);
        }
    }

  private:
    static std::size_t blocks(std::size_t count) {
        return count / kBlockSize + (count % kBlockSize != 0 ? 1 : 0);
    }

    /// The scale of the block that begins at this value. An encoder writes finite scales that are not
    /// negative, and one NaN that marks a block whose input was not finite.
    static float checked_scale(const std::uint8_t* encoded, std::size_t begin) {
        std::uint32_t bits;
        std::memcpy(&bits, encoded + begin / kBlockSize * sizeof(float), sizeof(bits));
        constexpr std::uint32_t kInfinity = 0x7F800000;
        if (bits >= kInfinity && bits != kNotFiniteScale) {
            throw Error(ErrorKind::protocol_violation,
                        "blockwise8: the scale of block " + std::to_string(begin / kBlockSize) +
                            " is negative or not finite; a correct peer never sends that");
        }
        float scale;
        std::memcpy(&scale, &bits, sizeof(scale));
        return scale;
    }
};

constexpr std::array<std::string_view, 4> kNames = {"fp32", "fp16", "bf16", "blockwise8"};

void check_decode_size(const Codec& codec, std::size_t bytes, std::size_t count) {
    if (bytes == codec.encoded_size(count)) return;
    throw Error(ErrorKind::protocol_violation, std::string(codec.name()) + ": " + std::to_string(count) +
                                                   " values take " +
                                                   std::to_string(codec.encoded_size(count)) +
                                                   " bytes, but " + std::to_string(bytes) + " came");
}

}  // namespace

void Codec::encode(std::span<const float> values, MutableByteView encoded) const {
    if (encoded.size() != encoded_size(values.size())) {
        throw Error(ErrorKind::invalid_argument, std::string(name()) + ": the output for " +
                                                     std::to_string(values.size()) + " values must have " +
                                                     std::to_string(encoded_size(values.size())) +
                                                     " bytes, not " + std::to_string(encoded.size()));
    }
    const ExactFloatingPoint exact;
    do_encode(values, encoded.data());
}

Bytes Codec::encode(std::span<const float> values) const {
    Bytes encoded(encoded_size(values.size()));
    encode(values, encoded);
    return encoded;
}

void Codec::decode(ByteView encoded, std::span<float> values) const {
    check_decode_size(*this, encoded.size(), values.size());
    const ExactFloatingPoint exact;
    do_decode(encoded.data(), values);
}

void Codec::decode_scaled_add(ByteView encoded, float scale, std::span<float> sum) const {
    check_decode_size(*this, encoded.size(), sum.size());
    const ExactFloatingPoint exact;
    do_decode_scaled_add(encoded.data(), scale, sum);
}

std::unique_ptr<const Codec> make_codec(std::string_view name) {
    if (name == "fp32") return std::make_unique<Fp32Codec>();
    if (name == "fp16") return std::make_unique<Fp16Codec>();
    if (name == "bf16") return std::make_unique<Bf16Codec>();
    if (name == "blockwise8") return std::make_unique<Blockwise8Codec>();
    std::string known;
    for (const std::string_view each : kNames) {
        if (!known.empty()) known += ", ";
        known += each;
    }
    throw Error(ErrorKind::invalid_argument,
                "unknown codec '" + std::string(name) + "'; the known ones are " + known);
}

std::span<const std::string_view> codec_names() {
    return kNames;
}

}  // namespace shoal::compress
