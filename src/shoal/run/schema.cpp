#include "shoal/run/schema.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <map>
#include <utility>

#include "shoal/base/error.h"
#include "shoal/collective/averager.h"
#include "shoal/compress/codec.h"
#include "shoal/run/schema_checks.h"

namespace shoal::run {
namespace {

template <typename T>
constexpr FieldType type_of() {
    if constexpr (std::is_same_v<T, bool>) return FieldType::flag;
    if constexpr (std::is_same_v<T, std::int64_t>) return FieldType::integer;
    if constexpr (std::is_same_v<T, double>) return FieldType::number;
    if constexpr (std::is_same_v<T, std::string>) return FieldType::text;
    if constexpr (std::is_same_v<T, std::filesystem::path>) return FieldType::path;
    if constexpr (std::is_same_v<T, std::vector<std::string>>) return FieldType::texts;
    return FieldType::numbers;
}

std::vector<std::string> codecs() {
    const auto names = compress::codec_names();
    return {names.begin(), names.end()};
}

enum class Scope { shared, own };

/// Collects the fields of one section.
template <typename Section>
class SectionFields {
  public:
    SectionFields(std::vector<Field>& all, std::string name, Section RunDefinition::* section)
        : all_(all), name_(std::move(name)), section_(section) {}

    template <typename T>
    SectionFields& add(std::string key, T Section::* member, Scope scope, Check check, std::string meaning,
                       std::string flag = {}) {
        Field field;
        field.section = name_;
        field.key = std::move(key);
        field.type = type_of<T>();
        field.meaning = std::move(meaning);
        field.shared = scope == Scope::shared;
        field.flag = std::move(flag);
        field.check = std::move(check);
        field.get = [section = section_, member](const RunDefinition& definition) -> Value {
            const T& value = definition.*section.*member;
            if constexpr (std::is_same_v<T, std::filesystem::path>) {
                return value.string();
            } else if constexpr (std::is_same_v<T, std::array<double, 2>>) {
                return std::vector<double>(value.begin(), value.end());
            } else {
                return value;
            }
        };
        field.set = [section = section_, member](RunDefinition& definition, Value value) {
            T& target = definition.*section.*member;
            if constexpr (std::is_same_v<T, std::filesystem::path>) {
                target = std::get<std::string>(value);
            } else if constexpr (std::is_same_v<T, std::array<double, 2>>) {
                const auto& numbers = std::get<std::vector<double>>(value);
                std::copy_n(numbers.begin(), std::min<std::size_t>(numbers.size(), 2), target.begin());
            } else {
                target = std::get<T>(std::move(value));
            }
        };
        all_.push_back(std::move(field));
        return *this;
    }

  private:
    std::vector<Field>& all_;
    std::string name_;
    Section RunDefinition::* section_;
};

void add_common_fields(std::vector<Field>& all) {
    using enum Scope;
    SectionFields(all, "run", &RunDefinition::run)
        .add("name", &RunSection::name, shared, plain_name(40), "names the swarm; letters, digits, - _ .",
             "--run")
        .add("target_batch_size", &RunSection::target_batch_size, shared, at_least(1),
             "samples that the whole swarm accumulates for one step")
        .add("steps", &RunSection::steps, shared, at_least(1), "training ends after so many steps")
        .add("seed", &RunSection::seed, shared, at_least(0), "of the first parameters and the data order")
        .add("evaluate_every", &RunSection::evaluate_every, own, at_least(0),
             "steps between two held-out losses; 0: never");
    SectionFields(all, "model", &RunDefinition::model)
        .add("kind", &ModelSection::kind, shared,
             one_of({"albert", "convnet", "resnet", "swav", "torchscript"}),
             "albert, convnet, resnet, swav (a ResNet without labels) or torchscript")
        .add("file", &ModelSection::file, own, anything(),
             "a TorchScript model whose forward returns the loss (kind torchscript)")
        .add("file_sha256", &ModelSection::file_sha256, own, sha256_or_empty(),
             "states the file's SHA-256, for peers that do not have it (auxiliary ones)")
        .add("size", &ModelSection::size, shared, one_of({"tiny", "small", "base", "large"}),
             "preset of a built-in model: tiny, small, base or large (convnet: tiny or small); numbers that "
             "follow override it")
        .add("vocabulary_size", &ModelSection::vocabulary_size, shared, between(0, 1 << 20),
             "0: as the vocabulary has")
        .add("embedding_size", &ModelSection::embedding_size, shared, between(0, 1 << 20), "0: by size")
        .add("hidden_size", &ModelSection::hidden_size, shared, between(0, 1 << 20), "0: by size")
        .add("feedforward_size", &ModelSection::feedforward_size, shared, between(0, 1 << 20), "0: by size")
        .add("layers", &ModelSection::layers, shared, between(0, 1024), "0: by size")
        .add("heads", &ModelSection::heads, shared, between(0, 1024), "0: by size")
        .add("filters", &ModelSection::filters, shared, filters(),
             "of the first stage of a convnet or ResNet, a multiple of 8; 0: by size")
        .add("blocks", &ModelSection::blocks, shared, between(0, 100),
             "residual blocks in each stage of a convnet; 0: by size")
        .add("depths", &ModelSection::depths, shared, depths(),
             "blocks in each stage of a ResNet, as [3, 4, 6, 3]; empty: by size")
        .add("block", &ModelSection::block, shared, or_empty(one_of({"basic", "bottleneck"})),
             "of a ResNet: basic or bottleneck; empty: by size")
        .add("stem", &ModelSection::stem, shared, or_empty(one_of({"small", "large"})),
             "of a ResNet: small for images below 64 pixels, or large; empty: by size")
        .add("dropout", &ModelSection::dropout, shared, range(Bound::closed, 0, 1, Bound::open),
             "probability, in [0, 1)")
        .add("adversary_radius", &ModelSection::adversary_radius, shared,
             range(Bound::closed, 0, 1e6, Bound::closed),
             "adversarial training: embedded words of a sample are perturbed this far, for the worst; 0: not")
        .add("adversary_rate", &ModelSection::adversary_rate, shared,
             range(Bound::open, 0, 1e6, Bound::closed), "of the adversary's steps, in radii")
        .add("adversary_steps", &ModelSection::adversary_steps, shared, between(1, 100),
             "of the adversary; each costs about as much as computing the gradient");
    SectionFields(all, "data", &RunDefinition::data)
        .add("kind", &DataSection::kind, shared,
             one_of({"text", "tokens", "images", "fashion-mnist", "image-folder"}),
             "text, tokens, images (IDX files), fashion-mnist, or image-folder (JPEG, PNG and others)")
        .add("path", &DataSection::path, own, anything(),
             "the file, or the folder of the images; fashion-mnist finds Debian's package by itself",
             "--data")
        .add("vocabulary", &DataSection::vocabulary, own, anything(), "SentencePiece model (kind text)")
        .add("vocabulary_sha256", &DataSection::vocabulary_sha256, own, sha256_or_empty(),
             "states its SHA-256, for peers that do not have it (auxiliary ones)")
        .add("sequence_length", &DataSection::sequence_length, shared, between(4, 1 << 16),
             "tokens a sample (kinds text and tokens)")
        .add("vocabulary_size", &DataSection::vocabulary_size, shared, between(0, 1 << 24),
             "kind tokens: every id is below it; 0 does not check")
        .add("micro_batch_size", &DataSection::micro_batch_size, own, between(1, 1 << 20),
             "samples that this peer computes at once", "--micro-batch-size")
        .add("held_out", &DataSection::held_out, shared, range(Bound::open, 0, 0.5, Bound::closed),
             "share of the data that is never trained on, in (0, 0.5]")
        .add("masked", &DataSection::masked, shared, range(Bound::open, 0, 0.5, Bound::closed),
             "share of the tokens to guess, in (0, 0.5] (kind text)")
        .add("image_size", &DataSection::image_size, shared, between(8, 4096),
             "pixels a side that images are scaled and cut to (kind image-folder)");
}

void add_swav_fields(std::vector<Field>& all) {
    using enum Scope;
    SectionFields(all, "swav", &RunDefinition::swav)
        .add("projection_hidden", &SwavSection::projection_hidden, shared, between(0, 1 << 16),
             "width of the projection head's hidden layer; 0: by size")
        .add("projection", &SwavSection::projection, shared, between(0, 1 << 16),
             "numbers that the projection head gives; 0: by size")
        .add("prototypes", &SwavSection::prototypes, shared, between(0, 1 << 20),
             "clusters, some ten times as many as kinds of things in the images; 0: by size")
        .add("frozen_steps", &SwavSection::frozen_steps, shared, at_least(0),
             "steps of the swarm before the prototypes move")
        .add("temperature", &SwavSection::temperature, shared, range(Bound::closed, 0.001, 10, Bound::closed),
             "of the predictions")
        .add("epsilon", &SwavSection::epsilon, shared, range(Bound::closed, 0.001, 10, Bound::closed),
             "of the assignments: the smaller, the harder")
        .add("sinkhorn_iterations", &SwavSection::sinkhorn_iterations, shared, between(1, 1000),
             "that spread the samples over the prototypes")
        .add("queue", &SwavSection::queue, shared, between(0, 1 << 20),
             "earlier samples of a peer's own that the assignments are balanced with; 0: none")
        .add("queue_from_step", &SwavSection::queue_from_step, shared, at_least(0),
             "the queue is used from this step of the swarm on")
        .add("large_crop", &SwavSection::large_crop, shared, or_zero(between(8, 4096)),
             "pixels a side of the two large views; 0: as the images")
        .add("large_scale", &SwavSection::large_scale, shared, shares(),
             "their share of the image's area, from and to")
        .add("small_crops", &SwavSection::small_crops, shared, between(0, 64), "small views of an image")
        .add("small_crop", &SwavSection::small_crop, shared, or_zero(between(8, 4096)),
             "pixels a side of the small views; 0: 3/7 of the large ones")
        .add("small_scale", &SwavSection::small_scale, shared, shares(),
             "their share of the image's area, from and to")
        .add("flip", &SwavSection::flip, shared, range(Bound::closed, 0, 1, Bound::closed),
             "probability that a view is mirrored")
        .add("colour", &SwavSection::colour, shared, range(Bound::closed, 0, 1, Bound::closed),
             "strength of the colour distortion")
        .add("blur", &SwavSection::blur, shared, range(Bound::closed, 0, 1, Bound::closed),
             "probability that a view is blurred")
        .add("blur_sigma", &SwavSection::blur_sigma, shared, pixel_range(),
             "deviation of the blur in pixels, from and to");
}

void add_step_fields(std::vector<Field>& all) {
    using enum Scope;
    SectionFields(all, "optimizer", &RunDefinition::optimizer)
        .add("name", &OptimizerSection::name, shared, one_of({"lamb", "larc", "adamw", "sgd"}),
             "lamb, larc, adamw or sgd")
        .add("betas", &OptimizerSection::betas, shared, betas(), "decay of the moments (lamb, adamw)")
        .add("epsilon", &OptimizerSection::epsilon, shared, range(Bound::open, 0, 1, Bound::closed),
             "added to the denominator (lamb, adamw; larc: take 1e-8)")
        .add("weight_decay", &OptimizerSection::weight_decay, shared,
             range(Bound::closed, 0, 1, Bound::closed), "not applied to biases and normalisation")
        .add("momentum", &OptimizerSection::momentum, shared, range(Bound::closed, 0, 1, Bound::open),
             "sgd and larc")
        .add("nesterov", &OptimizerSection::nesterov, shared, anything(), "sgd")
        .add("bias_correction", &OptimizerSection::bias_correction, shared, anything(), "lamb and adamw")
        .add("maximum_weight_norm", &OptimizerSection::maximum_weight_norm, shared, positive(),
             "lamb: upper clamp of a layer's norm in the trust ratio")
        .add("trust", &OptimizerSection::trust, shared, range(Bound::open, 0, 1e3, Bound::closed),
             "larc: how far a layer moves in a step, for its norm and the learning rate")
        .add("trust_clip", &OptimizerSection::trust_clip, shared, anything(),
             "larc: no layer's rate above the schedule's")
        .add("clip_gradient_norm", &OptimizerSection::clip_gradient_norm, shared, not_negative(),
             "of the swarm's average gradient, with [local_updates] of a peer's own; 0: no clipping");
    SectionFields(all, "local_updates", &RunDefinition::local_updates)
        .add("batch_size", &LocalUpdatesSection::batch_size, shared, between(0, 1 << 30),
             "samples after which a peer takes an optimizer step of its own; 0: none")
        .add("outer_learning_rate", &LocalUpdatesSection::outer_learning_rate, shared,
             range(Bound::open, 0, 10, Bound::closed),
             "of the swarm's step along the average way of its peers")
        .add("outer_momentum", &LocalUpdatesSection::outer_momentum, shared,
             range(Bound::closed, 0, 1, Bound::open), "of that step, Nesterov's");
    SectionFields(all, "schedule", &RunDefinition::schedule)
        .add("kind", &ScheduleSection::kind, shared, one_of({"constant", "linear", "cosine"}),
             "after the warm-up: constant, linear or cosine")
        .add("learning_rate", &ScheduleSection::learning_rate, shared,
             range(Bound::open, 0, 1e3, Bound::closed),
             "at the peak; a fair start is 0.05 for lamb, 2.4 for larc, 0.001 for adamw, 0.1 for sgd")
        .add("start_learning_rate", &ScheduleSection::start_learning_rate, shared,
             range(Bound::closed, 0, 1e3, Bound::closed), "where the warm-up begins")
        .add("final_learning_rate", &ScheduleSection::final_learning_rate, shared,
             range(Bound::closed, 0, 1e3, Bound::closed), "where the schedule ends")
        .add("warmup_steps", &ScheduleSection::warmup_steps, shared, at_least(0),
             "in which the rate rises in a straight line")
        .add("total_steps", &ScheduleSection::total_steps, shared, at_least(0),
             "where final_learning_rate is reached; 0: run.steps");
    SectionFields(all, "averaging", &RunDefinition::averaging)
        .add("codec", &AveragingSection::codec, shared, one_of(codecs()),
             "how gradients travel: " + fmt::format("{}", fmt::join(codecs(), ", ")), "--codec")
        .add("small_codec", &AveragingSection::small_codec, shared, or_empty(one_of(codecs())),
             "how gradients of small tensors (biases, norms) travel, e.g. fp16 beside blockwise8; empty: as "
             "the "
             "others")
        .add("small_below", &AveragingSection::small_below, shared, between(2, 1 << 30),
             "a tensor of fewer numbers is small; means nothing without small_codec")
        .add("error_feedback", &AveragingSection::error_feedback, own, one_of({"auto", "on", "off"}),
             "what a codec leaves out of this peer's gradient comes with the next one; auto: where that is "
             "much (blockwise4, quantile8)")
        .add("state_codec", &AveragingSection::state_codec, shared, one_of({"fp32"}),
             "how a newcomer's state travels: fp32, which alone keeps the same bits on all peers")
        .add("chunk_elements", &AveragingSection::chunk_elements, shared, between(1024, 1 << 18),
             "numbers in one message")
        .add("maximum_group", &AveragingSection::maximum_group, shared,
             between(2, static_cast<std::int64_t>(collective::kLargestGroup)), "peers in one averaging round")
        .add(
            "adaptive_quorum", &AveragingSection::adaptive_quorum, shared, anything(),
            "true: a round waits for late peers only as long as what they bring is more than what the others "
            "could compute meanwhile; false: for as long as their micro-batches take")
        .add("choose_roles", &AveragingSection::choose_roles, shared, anything(),
             "true: a peer computes nothing, and only takes results, while the others make more steps "
             "without what its line would have to carry; false: everybody computes")
        .add("group_size", &AveragingSection::group_size, shared, between(0, 21),
             "the swarm averages in groups of about so many peers, which change from step to step; 0: all "
             "together, which ends at maximum_group peers")
        .add("delayed", &AveragingSection::delayed, shared, anything(),
             "true: compute the next batch while this one is averaged; gradients are one step late at most")
        .add("bandwidth", &AveragingSection::bandwidth, own, line_rate(),
             "megabits per second of this peer, up and down; 0: as measured", "--bandwidth")
        .add("upload", &AveragingSection::upload, own, line_rate(),
             "megabits per second that this peer can send; 0: as bandwidth", "--upload")
        .add("download", &AveragingSection::download, own, line_rate(),
             "megabits per second that this peer can receive; 0: as bandwidth", "--download")
        .add("join_timeout", &AveragingSection::join_timeout, own, range(Bound::open, 0, 3600, Bound::closed),
             "seconds a leader may take to answer, beyond what its peers announced")
        .add("stall_timeout", &AveragingSection::stall_timeout, own,
             range(Bound::open, 0, 3600, Bound::closed),
             "seconds without a byte until a member counts as lost")
        .add("alone_after", &AveragingSection::alone_after, own, range(Bound::open, 0, 86400, Bound::closed),
             "seconds after which a peer that finds nobody begins the run")
        .add("lost_quorum_timeout", &AveragingSection::lost_quorum_timeout, shared,
             range(Bound::open, 0, 86400, Bound::closed),
             "seconds after which survivors that are no quorum of the last round go on");
}

void add_peer_fields(std::vector<Field>& all) {
    using enum Scope;
    SectionFields(all, "network", &RunDefinition::network)
        .add("bootstrap", &NetworkSection::bootstrap, own, endpoints(),
             "\"host:port\" of peers that are usually there", "--bootstrap")
        .add("listen_host", &NetworkSection::listen_host, own, anything(),
             "interface; 0.0.0.0 is all of them", "--listen")
        .add("listen_port", &NetworkSection::listen_port, own, between(0, 65535),
             "TCP, and UDP for the directory; 0: any free one", "--port")
        .add("announce", &NetworkSection::announce, own, endpoints(),
             "\"host:port\" under which others reach this peer; empty: found out", "--announce")
        .add("client_mode", &NetworkSection::client_mode, own, anything(),
             "accept no connection and serve nobody: for machines that cannot be reached", "--client")
        .add("directory", &NetworkSection::directory, own, one_of({"auto", "udp", "through-peers"}),
             "auto: over UDP, and through connected peers where nobody answers; or only one of the two",
             "--directory")
        .add("dial_timeout", &NetworkSection::dial_timeout, own, range(Bound::open, 0, 3600, Bound::closed),
             "seconds until a connection must stand")
        .add("peer_timeout", &NetworkSection::peer_timeout, own,
             range(Bound::closed, 0.2, 3600, Bound::closed), "seconds of silence until a peer counts as lost")
        .add("far_connections", &NetworkSection::far_connections, own, between(1, 8),
             "TCP connections that this peer opens to one whose round trip is 40 ms or more")
        .add("maximum_unread", &NetworkSection::maximum_unread, own, between(0, 1 << 20),
             "MiB held for all other peers together; 0: an eighth of the memory, 512 at least");
    SectionFields(all, "peer", &RunDefinition::peer)
        .add("name", &PeerSection::name, own, plain_name(24), "for humans; empty: a part of the PeerId",
             "--name")
        .add("folder", &PeerSection::folder, own, anything(),
             "key, metrics and checkpoints; empty: shoal-<run> in the working folder", "--folder")
        .add("key_file", &PeerSection::key_file, own, anything(),
             "the peer's identity; empty: key.pem in folder", "--key")
        .add("threads", &PeerSection::threads, own, between(0, 4096), "of the computation; 0: all cores",
             "--threads")
        .add("load", &PeerSection::load, own, range(Bound::open, 0, 1, Bound::closed),
             "share of the time to compute, in (0, 1]: leaves room for other work", "--load")
        .add("metrics_host", &PeerSection::metrics_host, own, anything(),
             "where Prometheus metrics are served")
        .add("metrics_port", &PeerSection::metrics_port, own, between(-1, 65535),
             "-1: not at all; 0: any free port", "--metrics-port");
    SectionFields(all, "checkpoints", &RunDefinition::checkpoints)
        .add("every", &CheckpointSection::every, own, at_least(0), "steps between two; 0: never")
        .add("keep", &CheckpointSection::keep, own, between(1, 1 << 20), "how many of the newest stay")
        .add("folder", &CheckpointSection::folder, own, anything(), "empty: checkpoints in the peer's folder")
        .add("fall_back", &CheckpointSection::fall_back, own, anything(),
             "where the newest is damaged, move it aside and go on from the one before");
}

/// Some keys mean nothing for some kinds of models.
void name_model_kinds(std::vector<Field>& all) {
    const std::map<std::string, std::vector<std::string>> kinds = {
        {"size", {"albert", "convnet", "resnet", "swav"}},
        {"dropout", {"albert", "convnet"}},
        {"adversary_radius", {"albert"}},
        {"adversary_rate", {"albert"}},
        {"adversary_steps", {"albert"}},
        {"vocabulary_size", {"albert"}},
        {"embedding_size", {"albert"}},
        {"hidden_size", {"albert"}},
        {"feedforward_size", {"albert"}},
        {"layers", {"albert"}},
        {"heads", {"albert"}},
        {"depths", {"resnet", "swav"}},
        {"block", {"resnet", "swav"}},
        {"stem", {"resnet", "swav"}},
        {"filters", {"convnet", "resnet", "swav"}},
        {"blocks", {"convnet"}}};
    for (Field& field : all) {
        const auto found = kinds.find(field.key);
        if (field.section == "swav") field.model_kinds = {"swav"};
        if (field.section == "model" && found != kinds.end()) field.model_kinds = found->second;
    }
}

}  // namespace

bool Field::is_for(const std::string& model_kind) const {
    return model_kinds.empty() ||
           std::find(model_kinds.begin(), model_kinds.end(), model_kind) != model_kinds.end();
}

std::string_view to_string(FieldType type) {
    switch (type) {
        case FieldType::flag:
            return "true or false";
        case FieldType::integer:
            return "a whole number";
        case FieldType::number:
            return "a number";
        case FieldType::text:
            return "a text in quotes";
        case FieldType::path:
            return "a path in quotes";
        case FieldType::texts:
            return "a list of texts";
        case FieldType::numbers:
            return "a list of numbers";
    }
    return "a value";
}

const std::vector<Field>& fields() {
    static const std::vector<Field> all = [] {
        std::vector<Field> made;
        add_common_fields(made);
        add_swav_fields(made);
        add_step_fields(made);
        add_peer_fields(made);
        name_model_kinds(made);
        return made;
    }();
    return all;
}

const Field* find_field(std::string_view section, std::string_view key) {
    for (const Field& field : fields())
        if (field.section == section && field.key == key) return &field;
    return nullptr;
}

const std::vector<SectionInfo>& sections() {
    static const std::vector<SectionInfo> all = {
        {"run", "What all peers work on together."},
        {"model", "What is trained. All peers must say the same."},
        {"data", "What it is trained on. Paths and micro_batch_size are a peer's own."},
        {"swav", "Learning from images without labels (kind swav). All peers must say the same."},
        {"optimizer", "One step of the whole swarm. All peers must say the same."},
        {"local_updates",
         "Several steps of each peer between two averages, for slow lines; [optimizer] and [schedule] are of "
         "those steps then."},
        {"schedule", "The learning rate, a function of the swarm's step. All peers must say the same."},
        {"averaging", "How gradients become one average."},
        {"network", "How this peer is reached and reaches others."},
        {"peer", "This peer alone; usually given as flags."},
        {"checkpoints", "Safetensors files that PyTorch opens, too; a stopped run goes on from them."},
    };
    return all;
}

std::string to_toml(const Value& value) {
    struct Writer {
        std::string operator()(bool flag) const { return flag ? "true" : "false"; }
        std::string operator()(std::int64_t number) const { return fmt::format("{}", number); }
        std::string operator()(double number) const { return number_text(number); }
        std::string operator()(const std::string& text) const { return in_quotes(text); }
        std::string operator()(const std::vector<std::string>& texts) const {
            std::vector<std::string> parts;
            for (const std::string& text : texts) parts.push_back(in_quotes(text));
            return fmt::format("[{}]", fmt::join(parts, ", "));
        }
        std::string operator()(const std::vector<double>& numbers) const {
            std::vector<std::string> parts;
            for (const double number : numbers) parts.push_back(number_text(number));
            return fmt::format("[{}]", fmt::join(parts, ", "));
        }
    };
    return std::visit(Writer{}, value);
}

std::string nearest(std::string_view word, const std::vector<std::string>& candidates) {
    const auto distance = [](std::string_view a, std::string_view b) {
        // Rows of the usual table: edits between a's first i and b's first j letters; a swap of neighbours
        // is one edit.
        std::vector<std::vector<std::size_t>> table(a.size() + 1, std::vector<std::size_t>(b.size() + 1));
        for (std::size_t i = 0; i <= a.size(); ++i) {
            for (std::size_t j = 0; j <= b.size(); ++j) {
                if (i == 0 || j == 0) {
                    table[i][j] = i + j;
                    continue;
                }
                const std::size_t change = a[i - 1] == b[j - 1] ? 0 : 1;
                table[i][j] =
                    std::min({table[i - 1][j] + 1, table[i][j - 1] + 1, table[i - 1][j - 1] + change});
                if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                    table[i][j] = std::min(table[i][j], table[i - 2][j - 2] + 1);
            }
        }
        return table[a.size()][b.size()];
    };
    if (word.size() > 64) return {};
    std::string best;
    std::size_t best_distance = std::max<std::size_t>(1, word.size() / 3) + 1;
    for (const std::string& candidate : candidates) {
        const std::size_t edits = distance(word, candidate);
        if (edits < best_distance) {
            best = candidate;
            best_distance = edits;
        }
    }
    return best;
}

}  // namespace shoal::run
