// From names to codecs.
#include <array>
#include <charconv>
#include <optional>
#include <string>

#include "shoal/base/error.h"
#include "shoal/compress/block_codecs.h"
#include "shoal/compress/cast_codecs.h"
#include "shoal/compress/codec.h"
#include "shoal/compress/power_sgd.h"
#include "shoal/compress/rounding_codecs.h"
#include "shoal/compress/sparse_codecs.h"

namespace shoal::compress {

namespace {

constexpr std::array<std::string_view, 7> kNames = {"fp32",     "fp16",      "bf16",      "blockwise8",
                                                    "uniform8", "quantile8", "blockwise4"};

constexpr std::array<std::string_view, 17> kExamples = {
    "fp32",       "fp16",           "bf16",
    "blockwise8", "uniform8",       "quantile8",
    "blockwise4", "natural",        "qsgd:4",
    "sign",       "rand_k:0.1",     "rand_k:0.1+natural",
    "top_k:0.01", "top_k:0.1+fp16", "top_k:0.01+blockwise8",
    "perm_k:1/4", "power_sgd:4"};

constexpr std::string_view kKnown =
    "fp32, fp16, bf16, blockwise8, uniform8, quantile8, blockwise4, natural, qsgd:STEPS, sign, "
    "rand_k:SHARE[+CODEC], top_k:SHARE[+CODEC], perm_k:DEVICE/DEVICES[+CODEC], "
    "power_sgd:RANK[@ROWSxCOLUMNS]";

[[noreturn]] void refuse(std::string_view name, const std::string& why) {
    throw Error(ErrorKind::invalid_argument, "codec '" + std::string(name) + "': " + why);
}

/// The whole text as a number; none if it is anything else.
template <typename Number>
std::optional<Number> number(std::string_view text) {
    Number value{};
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
    return value;
}

/// Splits at the first of these characters. False, and nothing changed, where there is none.
bool split(std::string_view text, char at, std::string_view& before, std::string_view& behind) {
    const std::size_t place = text.find(at);
    if (place == std::string_view::npos) return false;
    before = text.substr(0, place);
    behind = text.substr(place + 1);
    return true;
}

double share_of(std::string_view name, std::string_view text) {
    const std::optional<double> share = number<double>(text);
    if (!share || !(*share > 0 && *share <= 1))
        refuse(name, "the share of the values that travel is a number above 0, and at most 1");
    return *share;
}

std::unique_ptr<const Codec> make_perm_k(std::string_view name, std::string_view parameters,
                                         std::unique_ptr<const Codec> values) {
    std::string_view left, right;
    std::optional<std::size_t> device, devices;
    if (split(parameters, '/', left, right)) {
        device = number<std::size_t>(left);
        devices = number<std::size_t>(right);
    }
    if (!device || !devices || *device >= *devices || *devices > kMaximumDevices)
        refuse(name, "what follows is DEVICE/DEVICES, with devices counted from 0, of at most " +
                         std::to_string(kMaximumDevices));
    return compress::make_perm_k(std::string(name), *device, *devices, std::move(values));
}

std::unique_ptr<const Codec> make_qsgd(std::string_view name, std::string_view parameters) {
    const std::optional<unsigned> steps = number<unsigned>(parameters);
    if (!steps || *steps < 1 || *steps > kMaximumSteps)
        refuse(name, "the number of steps is a number from 1 to " + std::to_string(kMaximumSteps));
    return compress::make_qsgd(std::string(name), *steps);
}

std::unique_ptr<const Codec> make_power_sgd(std::string_view name, std::string_view parameters) {
    std::string_view rank_text = parameters, shape_text, rows_text, columns_text;
    PowerSgdShape shape;
    if (split(parameters, '@', rank_text, shape_text)) {
        std::optional<std::size_t> rows, columns;
        if (split(shape_text, 'x', rows_text, columns_text)) {
            rows = number<std::size_t>(rows_text);
            columns = number<std::size_t>(columns_text);
        }
        constexpr std::size_t kMost = std::size_t{1} << 31;
        if (!rows || !columns || *rows < 1 || *columns < 1 || *rows > kMost || *columns > kMost)
            refuse(name, "behind '@' stands ROWSxCOLUMNS, e.g. power_sgd:4@768x3072");
        shape.rows = *rows;
        shape.columns = *columns;
    }
    const std::optional<std::size_t> rank = number<std::size_t>(rank_text);
    if (!rank || *rank < 1 || *rank > kMaximumRank)
        refuse(name, "the rank is a number from 1 to " + std::to_string(kMaximumRank));
    shape.rank = *rank;
    return compress::make_power_sgd(std::string(name), shape);
}

/// What stands behind '+': a codec for the values that are kept. Null where nothing does.
std::unique_ptr<const Codec> make_inner(std::string_view name, std::string_view inner) {
    if (inner.empty()) refuse(name, "behind '+' stands the codec of the values that are kept");
    std::unique_ptr<const Codec> codec = make_codec(inner);
    if (inner.find_first_of("+") != std::string_view::npos || inner.starts_with("rand_k") ||
        inner.starts_with("top_k") || inner.starts_with("perm_k") || inner.starts_with("power_sgd"))
        refuse(name, "the codec behind '+' must be one that keeps all of the values");
    return codec;
}

}  // namespace

std::unique_ptr<const Codec> make_codec(std::string_view name) {
    if (name == "fp32") return make_fp32();
    if (name == "fp16") return make_fp16();
    if (name == "bf16") return make_bf16();
    if (name == "blockwise8") return make_blockwise8();
    if (name == "uniform8") return make_uniform8();
    if (name == "quantile8") return make_quantile8();
    if (name == "blockwise4") return make_blockwise4();
    if (name == "natural") return make_natural();
    if (name == "sign") return make_sign();

    std::string_view outer = name, inner, kind, parameters;
    std::unique_ptr<const Codec> values;
    const bool composed = split(name, '+', outer, inner);
    if (split(outer, ':', kind, parameters)) {
        const bool sparse = kind == "rand_k" || kind == "top_k" || kind == "perm_k";
        if (composed && sparse) values = make_inner(name, inner);
        if (composed && !sparse && (kind == "qsgd" || kind == "power_sgd"))
            refuse(name, "only rand_k, top_k and perm_k can be followed by '+' and a codec");
        if (kind == "rand_k")
            return make_rand_k(std::string(name), share_of(name, parameters), std::move(values));
        if (kind == "top_k")
            return make_top_k(std::string(name), share_of(name, parameters), std::move(values));
        if (kind == "perm_k") return make_perm_k(name, parameters, std::move(values));
        if (kind == "qsgd") return make_qsgd(name, parameters);
        if (kind == "power_sgd") return make_power_sgd(name, parameters);
    }
    throw Error(ErrorKind::invalid_argument,
                "unknown codec '" + std::string(name) + "'; the known ones are " + std::string(kKnown));
}

std::span<const std::string_view> codec_names() {
    return kNames;
}

std::span<const std::string_view> codec_examples() {
    return kExamples;
}

std::string_view known_codecs() {
    return kKnown;
}

}  // namespace shoal::compress
