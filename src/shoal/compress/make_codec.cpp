// From names to codecs.
#include <array>
#include <string>

#include "shoal/base/error.h"
#include "shoal/compress/block_codecs.h"
#include "shoal/compress/cast_codecs.h"
#include "shoal/compress/codec.h"

namespace shoal::compress {

namespace {

constexpr std::array<std::string_view, 7> kNames = {"fp32",     "fp16",      "bf16",      "blockwise8",
                                                    "uniform8", "quantile8", "blockwise4"};

}  // namespace

std::unique_ptr<const Codec> make_codec(std::string_view name) {
    if (name == "fp32") return make_fp32();
    if (name == "fp16") return make_fp16();
    if (name == "bf16") return make_bf16();
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

std::span<const std::string_view> codec_examples() {
    return kNames;
}

std::string_view known_codecs() {
    return "fp32, fp16, bf16, blockwise8, uniform8, quantile8, blockwise4";
}

}  // namespace shoal::compress
