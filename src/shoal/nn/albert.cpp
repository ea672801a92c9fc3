#include "shoal/nn/albert.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/add.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/bmm.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/tanh.h>
#include <ATen/ops/zeros.h>
#include <cmath>
#include <map>

#include "shoal/base/error.h"
#include "shoal/nn/adversary.h"
#include "shoal/nn/flat_model.h"
#include "shoal/nn/initialise.h"

namespace shoal::nn {
namespace {

constexpr double kInitialDeviation = 0.02;
constexpr double kNormEpsilon = 1e-12;
constexpr std::int64_t kMaximumSize = 1 << 20;  // of any field: keeps products far from overflow

struct Sizes {
    std::int64_t embedding, hidden, layers, heads, feedforward;
};

Sizes sizes_of(const ModelSettings& settings) {
    static const std::map<std::string, Sizes> named = {{"tiny", {64, 128, 2, 4, 512}},
                                                       {"small", {128, 256, 6, 4, 1024}},
                                                       {"base", {128, 768, 12, 12, 3072}},
                                                       {"large", {128, 1024, 24, 16, 4096}}};
    const auto found = named.find(settings.size);
    if (found == named.end()) {
        throw Error(ErrorKind::invalid_argument,
                    "there is no albert size '" + settings.size + "'; choose tiny, small, base or large");
    }
    Sizes sizes = found->second;
    const auto override_with = [](std::int64_t& field, std::int64_t given, const char* name) {
        if (given < 0 || given > kMaximumSize) {
            throw Error(ErrorKind::invalid_argument,
                        std::string(name) + " must be 1 to " + std::to_string(kMaximumSize));
        }
        if (given > 0) field = given;
    };
    override_with(sizes.embedding, settings.embedding_size, "embedding_size");
    override_with(sizes.hidden, settings.hidden_size, "hidden_size");
    override_with(sizes.layers, settings.layers, "layers");
    override_with(sizes.heads, settings.heads, "heads");
    override_with(sizes.feedforward, settings.feedforward_size, "feedforward_size");
    std::int64_t required = 0;
    override_with(required, settings.vocabulary_size, "vocabulary_size");
    override_with(required, settings.sequence_length, "sequence_length");
    if (settings.vocabulary_size == 0 || settings.sequence_length == 0) {
        throw Error(ErrorKind::invalid_argument,
                    "albert needs vocabulary_size and sequence_length; does the run use a text data set?");
    }
    if (sizes.hidden % sizes.heads != 0) {
        throw Error(ErrorKind::invalid_argument, "hidden_size " + std::to_string(sizes.hidden) +
                                                     " must be a multiple of heads " +
                                                     std::to_string(sizes.heads));
    }
    return sizes;
}

struct Linear {
    at::Tensor weight, bias;
    at::Tensor operator()(const at::Tensor& x) const { return at::linear(x, weight, bias); }
};

struct LayerNorm {
    at::Tensor weight, bias;
    at::Tensor operator()(const at::Tensor& x) const {
        return at::layer_norm(x, weight.sizes(), weight, bias, kNormEpsilon);
    }
};

class Albert final : public FlatModel {
  public:
    explicit Albert(const ModelSettings& settings)
        : FlatModel("albert " + settings.size, settings.threads),
          sizes_(sizes_of(settings)),
          vocabulary_(settings.vocabulary_size),
          positions_(settings.sequence_length),
          dropout_(settings.dropout),
          adversary_(settings.adversary),
          dropout_random_(at::make_generator<at::CPUGeneratorImpl>(settings.seed)) {
        nn::check(adversary_);
        build(settings.seed);
    }

  private:
    void build(std::uint64_t seed) {
        Random random(seed);
        std::vector<NamedTensor> all;
        const auto embedding = [&](at::Tensor& target, const std::string& name, std::int64_t rows) {
            target = normal_tensor({rows, sizes_.embedding}, kInitialDeviation, random);
            all.push_back({name + ".weight", target});
        };
        const auto norm = [&](LayerNorm& target, const std::string& name, std::int64_t size) {
            target = {constant_tensor({size}, 1), constant_tensor({size}, 0)};
            all.push_back({name + ".weight", target.weight});
            all.push_back({name + ".bias", target.bias});
        };
        const auto linear = [&](Linear& target, const std::string& name, std::int64_t in, std::int64_t out) {
            target = {normal_tensor({out, in}, kInitialDeviation, random), constant_tensor({out}, 0)};
            all.push_back({name + ".weight", target.weight});
            all.push_back({name + ".bias", target.bias});
        };
        const auto [e, h, layers, heads, f] = sizes_;
        const std::string layer = "albert.encoder.albert_layer_groups.0.albert_layers.0.";
        embedding(words_, "albert.embeddings.word_embeddings", vocabulary_);
        embedding(places_, "albert.embeddings.position_embeddings", positions_);
        embedding(segments_, "albert.embeddings.token_type_embeddings", 2);
        norm(embedding_norm_, "albert.embeddings.LayerNorm", e);
        linear(embedding_to_hidden_, "albert.encoder.embedding_hidden_mapping_in", e, h);
        norm(output_norm_, layer + "full_layer_layer_norm", h);
        linear(query_, layer + "attention.query", h, h);
        linear(key_, layer + "attention.key", h, h);
        linear(value_, layer + "attention.value", h, h);
        linear(attention_output_, layer + "attention.dense", h, h);
        norm(attention_norm_, layer + "attention.LayerNorm", h);
        linear(expand_, layer + "ffn", h, f);
        linear(contract_, layer + "ffn_output", f, h);
        linear(pooler_, "albert.pooler", h, h);
        word_bias_ = constant_tensor({vocabulary_}, 0);
        all.push_back({"predictions.bias", word_bias_});
        norm(prediction_norm_, "predictions.LayerNorm", e);
        linear(prediction_, "predictions.dense", h, e);
        linear(order_, "sop_classifier.classifier", h, 2);
        adopt(all);
    }

    void check(const data::Batch& batch) const override {
        if (batch.kind != data::BatchKind::masked_text) {
            throw Error(ErrorKind::invalid_argument, "albert trains on masked text, but the data set gives " +
                                                         std::string(data::to_string(batch.kind)) +
                                                         "; use data kind 'text'");
        }
        if (batch.sequence_length > positions_) {
            throw Error(ErrorKind::invalid_argument, "samples of " + std::to_string(batch.sequence_length) +
                                                         " tokens do not fit an albert of sequence_length " +
                                                         std::to_string(positions_));
        }
    }

    at::Tensor loss(const data::Batch& batch, bool training) override {
        if (adversary_.radius == 0) return loss_at(at::Tensor(), batch, training);
        const auto perturbed = [&](const at::Tensor& perturbation) {
            return loss_at(perturbation, batch, training);
        };
        return perturbed(find_perturbation(
            adversary_, {batch.samples, batch.sequence_length, sizes_.embedding}, perturbed));
    }

    /// @param perturbation  of the embedded words, [n, length, embedding]; undefined: none
    at::Tensor loss_at(const at::Tensor& perturbation, const data::Batch& batch, bool training) {
        const std::int64_t n = batch.samples, length = batch.sequence_length;
        const at::Tensor hidden = encode(perturbation, batch, training);
        // Masked tokens: only their rows go through the head, which is as large as the vocabulary.
        rows_ = masked_rows(batch);
        const auto masked = static_cast<std::int64_t>(rows_.places.size());
        at::Tensor total = at::zeros({}, at::kFloat);
        if (masked > 0) {
            at::Tensor x = at::index_select(hidden, 0, as_tensor(rows_.places, {masked}, "masked places"));
            x = prediction_norm_(at::gelu(prediction_(x), "tanh"));
            const at::Tensor scores = at::linear(x, words_, word_bias_);
            const at::Tensor losses = at::cross_entropy_loss(
                scores, as_tensor(rows_.labels, {masked}, "masked labels"), {}, at::Reduction::None);
            total = (losses * as_tensor(rows_.weights, {masked}, "weights")).sum();
        }
        const at::Tensor first = hidden.view({n, length, sizes_.hidden}).select(1, 0);
        const at::Tensor pooled = dropped(at::tanh(pooler_(first)), training);
        return total +
               at::cross_entropy_loss(order_(pooled), as_tensor(batch.sentence_order, {n}, "sentence order"));
    }

    /// Hidden states, [n * length, hidden].
    at::Tensor encode(const at::Tensor& perturbation, const data::Batch& batch, bool training) {
        const std::int64_t n = batch.samples, length = batch.sequence_length;
        at::Tensor x = at::embedding(words_, as_tensor(batch.tokens, {n, length}, "tokens")) +
                       at::embedding(segments_, as_tensor(batch.segments, {n, length}, "segments")) +
                       places_.narrow(0, 0, length);
        if (perturbation.defined()) x = x + perturbation;
        x = dropped(embedding_norm_(x.view({n * length, sizes_.embedding})), training);
        x = embedding_to_hidden_(x);
        // One matrix product for query, key and value; joined here, outside the loop over layers, because the
        // layers share them.
        const Linear joined = {at::cat({query_.weight, key_.weight, value_.weight}),
                               at::cat({query_.bias, key_.bias, value_.bias})};
        const at::Tensor mask = padding_mask(batch);
        for (std::int64_t layer = 0; layer < sizes_.layers; ++layer) {
            const at::Tensor attended =
                dropped(attention_output_(attend(joined(x), mask, n, length, training)), training);
            x = attention_norm_(x + attended);
            const at::Tensor fed = dropped(contract_(at::gelu(expand_(x), "tanh")), training);
            x = output_norm_(x + fed);
        }
        return x;
    }

    /// Scaled dot-product attention of all heads. @param joined [n * length, 3 * hidden]. Returns [n *
    /// length, hidden].
    at::Tensor attend(const at::Tensor& joined, const at::Tensor& mask, std::int64_t n, std::int64_t length,
                      bool training) {
        const std::int64_t heads = sizes_.heads, each = sizes_.hidden / heads;
        const at::Tensor parts = joined.view({n, length, 3, heads, each})
                                     .permute({2, 0, 3, 1, 4})
                                     .reshape({3, n * heads, length, each});
        const at::Tensor query = parts.select(0, 0) * (1.0 / std::sqrt(static_cast<double>(each)));
        at::Tensor scores = at::bmm(query, parts.select(0, 1).transpose(1, 2));
        if (mask.defined())
            scores = (scores.view({n, heads, length, length}) + mask).view({n * heads, length, length});
        const at::Tensor weights = dropped(at::softmax(scores, -1), training);
        return at::bmm(weights, parts.select(0, 2))
            .view({n, heads, length, each})
            .transpose(1, 2)
            .reshape({n * length, sizes_.hidden});
    }

    /// [n, 1, 1, length], a large negative number at padding; undefined when no sample has any.
    static at::Tensor padding_mask(const data::Batch& batch) {
        const std::int64_t n = batch.samples, length = batch.sequence_length;
        const at::Tensor lengths = as_tensor(batch.lengths, {n}, "lengths");
        bool any = false;
        for (const std::int64_t used : batch.lengths) any = any || used < length;
        if (!any) return {};
        const at::Tensor is_padding =
            at::arange(length, at::kLong).view({1, length}).ge(lengths.view({n, 1}));
        return is_padding.to(at::kFloat).mul_(-10000.0).view({n, 1, 1, length});
    }

    struct MaskedRows {
        std::vector<std::int64_t> places;  ///< row in the hidden states
        std::vector<std::int64_t> labels;
        std::vector<float>
            weights;  ///< 1 / (n * masked tokens of the sample): the mean over samples of their means
    };
    static MaskedRows masked_rows(const data::Batch& batch) {
        MaskedRows rows;
        as_tensor(batch.masked_labels, {batch.samples, batch.sequence_length},
                  "masked labels");  // checks the size
        for (std::int64_t sample = 0; sample < batch.samples; ++sample) {
            const std::size_t before = rows.places.size();
            for (std::int64_t i = sample * batch.sequence_length; i < (sample + 1) * batch.sequence_length;
                 ++i) {
                const std::int64_t label = batch.masked_labels[static_cast<std::size_t>(i)];
                if (label == data::kIgnoredLabel) continue;
                rows.places.push_back(i);
                rows.labels.push_back(label);
            }
            const auto count = static_cast<double>(rows.places.size() - before);
            rows.weights.resize(rows.places.size(),
                                static_cast<float>(1.0 / (static_cast<double>(batch.samples) * count)));
        }
        return rows;
    }

    at::Tensor dropped(const at::Tensor& x, bool training) {
        if (!training || dropout_ == 0) return x;
        return x * at::empty_like(x).bernoulli_(1 - dropout_, dropout_random_).div_(1 - dropout_);
    }

    Sizes sizes_;
    std::int64_t vocabulary_, positions_;
    double dropout_;
    AdversarySettings adversary_;
    at::Generator dropout_random_;
    MaskedRows rows_;  ///< a member because the backward pass still reads it
    at::Tensor words_, places_, segments_, word_bias_;
    LayerNorm embedding_norm_, attention_norm_, output_norm_, prediction_norm_;
    Linear embedding_to_hidden_, query_, key_, value_, attention_output_, expand_, contract_, pooler_,
        prediction_, order_;
};

}  // namespace

std::unique_ptr<Model> make_albert(const ModelSettings& settings) {
    return std::make_unique<Albert>(settings);
}

}  // namespace shoal::nn
