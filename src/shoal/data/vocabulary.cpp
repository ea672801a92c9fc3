#include "shoal/data/vocabulary.h"

#include <cmath>
#include <shoal/proto/sentencepiece.pb.h>

#include "shoal/base/error.h"
#include "shoal/data/mapped_file.h"
#include "shoal/data/text_normaliser.h"
#include "shoal/data/unigram.h"

namespace shoal::data {

struct Vocabulary::State {
    State(NormaliserOptions options, std::int64_t unknown_id)
        : normaliser(std::move(options)), unigram(unknown_id), unknown(unknown_id) {}

    TextNormaliser normaliser;
    Unigram unigram;
    std::vector<std::string> pieces;
    std::vector<std::int64_t> ordinary;
    std::int64_t unknown, padding = -1, classifier = -1, separator = -1, mask = -1;
};

namespace {

using Model = proto::SentencePieceModel;
constexpr std::string_view kRemedy =
    "check `vocabulary` in the run file, or train one with spm_train (see examples/README.md)";

[[noreturn]] void fail(const std::filesystem::path& file, const std::string& why) {
    throw Error(ErrorKind::bad_input,
                "vocabulary " + file.string() + " " + why + "; " + std::string(kRemedy));
}

Model parse(const std::filesystem::path& file) {
    const MappedFile bytes(file, "vocabulary", kRemedy);
    Model model;
    const auto size = bytes.bytes().size();
    if (size > (std::size_t{1} << 30) ||
        !model.ParseFromArray(bytes.bytes().data(), static_cast<int>(size)) || model.pieces_size() == 0) {
        fail(file, "is damaged or no SentencePiece model");
    }
    if (model.trainer().model_type() != Model::Trainer::UNIGRAM ||
        model.trainer().treat_whitespace_as_suffix()) {
        fail(file, "is no unigram model (spm_train's --model_type=unigram)");
    }
    for (const auto& piece : model.pieces()) {
        if (piece.type() == Model::Piece::BYTE || piece.type() == Model::Piece::USER_DEFINED) {
            fail(file, "uses byte fallback or user-defined symbols, which Shoal does not support");
        }
        if (!std::isfinite(piece.score())) fail(file, "is damaged: a score is not finite");
    }
    return model;
}

std::int64_t find_piece(const Model& model, std::string_view name, const std::filesystem::path& file) {
    for (int id = 0; id < model.pieces_size(); ++id) {
        if (model.pieces(id).piece() == name && model.pieces(id).type() != Model::Piece::NORMAL) return id;
    }
    fail(file, "has no special piece " + std::string(name) +
                   " (spm_train needs --pad_id=0 --unk_id=1 --control_symbols=[CLS],[SEP],[MASK])");
}

}  // namespace

Vocabulary::Vocabulary(std::unique_ptr<State> state) : state_(std::move(state)) {}
Vocabulary::~Vocabulary() = default;
Vocabulary::Vocabulary(Vocabulary&&) noexcept = default;
Vocabulary& Vocabulary::operator=(Vocabulary&&) noexcept = default;

Vocabulary Vocabulary::load(const std::filesystem::path& file) {
    const Model model = parse(file);
    const auto& normaliser = model.normalizer();
    std::unique_ptr<State> state;
    try {
        NormaliserOptions options = {normaliser.precompiled_charsmap(), normaliser.add_dummy_prefix(),
                                     normaliser.remove_extra_whitespaces(), normaliser.escape_whitespaces()};
        state = std::make_unique<State>(std::move(options), find_piece(model, "<unk>", file));
    } catch (const Error& error) {
        if (error.kind() != ErrorKind::corrupted) throw;
        fail(file, std::string("is damaged: ") + error.what());
    }
    state->padding = find_piece(model, "<pad>", file);
    state->classifier = find_piece(model, "[CLS]", file);
    state->separator = find_piece(model, "[SEP]", file);
    state->mask = find_piece(model, "[MASK]", file);
    for (int id = 0; id < model.pieces_size(); ++id) {
        const auto& piece = model.pieces(id);
        state->pieces.push_back(piece.piece());
        if (piece.type() != Model::Piece::NORMAL) continue;
        state->unigram.add(piece.piece(), id, piece.score());
        state->ordinary.push_back(id);
    }
    if (state->ordinary.empty()) fail(file, "has no pieces for text");
    return Vocabulary(std::move(state));
}

std::int64_t Vocabulary::size() const {
    return static_cast<std::int64_t>(state_->pieces.size());
}
std::int64_t Vocabulary::padding() const {
    return state_->padding;
}
std::int64_t Vocabulary::unknown() const {
    return state_->unknown;
}
std::int64_t Vocabulary::classifier() const {
    return state_->classifier;
}
std::int64_t Vocabulary::separator() const {
    return state_->separator;
}
std::int64_t Vocabulary::mask() const {
    return state_->mask;
}
std::span<const std::int64_t> Vocabulary::ordinary() const {
    return state_->ordinary;
}

void Vocabulary::encode(std::string_view text, std::vector<std::int64_t>& ids) const {
    state_->unigram.encode(state_->normaliser.normalise(text), ids);
}

std::string Vocabulary::decode(std::span<const std::int64_t> ids) const {
    std::string text;
    for (const std::int64_t id : ids) {
        if (id < 0 || id >= size()) {
            throw Error(ErrorKind::invalid_argument,
                        "token id " + std::to_string(id) + " is not in the vocabulary");
        }
        text += state_->pieces[static_cast<std::size_t>(id)];
    }
    for (std::size_t at = text.find(kSpaceSymbol); at != std::string::npos;
         at = text.find(kSpaceSymbol, at)) {
        text.replace(at, kSpaceSymbol.size(), " ");
    }
    return text.starts_with(' ') ? text.substr(1) : text;
}

}  // namespace shoal::data
