// Unicode normalisation as SentencePiece does it: by a table that the vocabulary's file brings along (NFKC,
// case folding, or whatever it was trained with).
//
// Why not the library: Debian's libsentencepiece carries and exports a protobuf runtime of another version,
// so that a process which loads libprotobuf as well (Shoal does, and libtorch) crashes at its start. Reading
// its model files takes these two small classes.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace shoal::data {

struct NormaliserOptions {
    std::string table;  ///< the field precompiled_charsmap; empty: characters stay as they are
    bool add_dummy_prefix = true;
    bool remove_extra_whitespaces = true;
    bool escape_whitespaces = true;
};

/// What stands for a space in pieces: U+2581.
constexpr std::string_view kSpaceSymbol = "\xE2\x96\x81";

/// Immutable; safe from any thread.
class TextNormaliser {
  public:
    /// Throws Error(corrupted) if the table is damaged. A table made to mislead gives wrong text, but reads
    /// nothing out of bounds.
    explicit TextNormaliser(NormaliserOptions options);

    /// Spaces become kSpaceSymbol (one in front of the first word), invalid UTF-8 becomes U+FFFD.
    std::string normalise(std::string_view text) const;

  private:
    struct Prefix {
        std::string_view replacement;
        std::size_t length;  ///< bytes of the text that it replaces, above 0
    };
    Prefix normalise_prefix(std::string_view text) const;

    NormaliserOptions options_;
    std::vector<std::uint32_t>
        trie_;  ///< double array in the layout of Darts-clone: patterns to places in replacements_
    std::string replacements_;  ///< ended by zero bytes
};

/// Bytes of the UTF-8 character that the text (not empty) starts with; 0 if it is invalid.
std::size_t utf8_length(std::string_view text);

}  // namespace shoal::data
