// SentencePiece vocabularies: text to token ids, and training a vocabulary from a text file.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace shoal::data {

/// A unigram vocabulary that has the special pieces <pad>, <unk>, [CLS], [SEP] and [MASK]. Immutable; safe
/// from any thread.
class Vocabulary {
  public:
    /// Throws Error(bad_input) if the file is missing, no SentencePiece unigram model, or lacks a special
    /// piece.
    static Vocabulary load(const std::filesystem::path& file);
    ~Vocabulary();
    Vocabulary(Vocabulary&&) noexcept;
    Vocabulary& operator=(Vocabulary&&) noexcept;

    std::int64_t size() const;
    std::int64_t padding() const;     ///< <pad>
    std::int64_t unknown() const;     ///< <unk>
    std::int64_t classifier() const;  ///< [CLS]
    std::int64_t separator() const;   ///< [SEP]
    std::int64_t mask() const;        ///< [MASK]
    /// The ids that stand for text, ascending: all but the special and unused ones.
    std::span<const std::int64_t> ordinary() const;

    /// Appends the ids of a text, the same ids as SentencePiece's. Special pieces never come out of text, but
    /// <unk>.
    void encode(std::string_view text, std::vector<std::int64_t>& ids) const;
    /// The text of ids, for humans; normalised (lower case). Throws Error(invalid_argument) for an id out of
    /// range.
    std::string decode(std::span<const std::int64_t> ids) const;

  private:
    struct State;
    explicit Vocabulary(std::unique_ptr<State> state);
    std::unique_ptr<State> state_;
};

/// Trains a unigram vocabulary of exactly `size` pieces (special ones included; ids 0 to 4 are <pad>, <unk>,
/// [CLS], [SEP], [MASK]) on a plain text file and writes it atomically to `out`, with SentencePiece's program
/// spm_train. Text is normalised by NFKC and lower-cased, digits stand alone. The same file and size give the
/// same vocabulary. Of files above 32 MiB, an even selection of that size is used. A text of 2 MB takes a few
/// seconds. Blocks until done. Throws Error(bad_input) if the text is missing, empty or too small for that
/// many pieces, Error(system) if spm_train is not installed or the folder of `out` cannot be written.
void train_vocabulary(const std::filesystem::path& text, std::int64_t size, const std::filesystem::path& out);

}  // namespace shoal::data
