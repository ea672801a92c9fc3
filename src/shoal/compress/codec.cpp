#include "shoal/compress/codec.h"

#include <array>
#include <cstring>
#include <string>

#include "shoal/base/error.h"
#include "shoal/compress/block_codecs.h"
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

constexpr std::array<std::string_view, 7> kNames = {"fp32",     "fp16",      "bf16",      "blockwise8",
                                                    "uniform8", "quantile8", "blockwise4"};

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
    if (name == "blockwise8") return make_blockwise8();
    if (name == "uniform8") return make_uniform8();
    if (name == "quantile8") return make_quantile8();
    if (name == "blockwise4") return make_blockwise4();
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
