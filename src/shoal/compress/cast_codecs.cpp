#include "shoal/compress/cast_codecs.h"

#include <cstring>

#include "shoal/compress/cast_kernels.h"

namespace shoal::compress {

namespace {

// Of p significant bits, an error is 2^-p of the value at most. It counts squared.

class Fp32Codec final : public Codec {
  public:
    std::string_view name() const override { return "fp32"; }
    std::size_t encoded_size(std::size_t count) const override { return count * sizeof(float); }

  protected:
    Guarantee do_guarantee(std::size_t /*count*/) const override {
        return {.variance_factor = 1, .contraction = 1};
    }
    void do_encode(std::span<const float> values, std::uint8_t* encoded,
                   std::uint64_t /*seed*/) const override {
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
    Guarantee do_guarantee(std::size_t /*count*/) const override {
        return {.contraction = 1 / (1 - 0x1p-22)};
    }
    void do_encode(std::span<const float> values, std::uint8_t* encoded,
                   std::uint64_t /*seed*/) const override {
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
    Guarantee do_guarantee(std::size_t /*count*/) const override {
        return {.contraction = 1 / (1 - 0x1p-16)};
    }
    void do_encode(std::span<const float> values, std::uint8_t* encoded,
                   std::uint64_t /*seed*/) const override {
        encode_bf16(values.data(), values.size(), encoded);
    }
    void do_decode(const std::uint8_t* encoded, std::span<float> values) const override {
        decode_bf16(encoded, values.data(), values.size());
    }
    void do_decode_scaled_add(const std::uint8_t* encoded, float scale, std::span<float> sum) const override {
        scaled_add_bf16(encoded, scale, sum.data(), sum.size());
    }
};

}  // namespace

std::unique_ptr<const Codec> make_fp32() {
    return std::make_unique<Fp32Codec>();
}

std::unique_ptr<const Codec> make_fp16() {
    return std::make_unique<Fp16Codec>();
}

std::unique_ptr<const Codec> make_bf16() {
    return std::make_unique<Bf16Codec>();
}

}  // namespace shoal::compress
