// Walks through the msgpack of a stranger without allocating anything, and never believes a length that the
// bytes do not bear out. Internal to dht/.
#pragma once

#include <cstdint>
#include <optional>

#include "shoal/base/bytes.h"

namespace shoal::dht {

class MsgpackReader {
  public:
    enum class Kind { nothing, boolean, number, negative, text, binary, array, map };
    struct Token {
        Kind kind = Kind::nothing;
        std::uint64_t number = 0;  ///< of a number its value, of an array or a map how many elements follow
        ByteView bytes;            ///< of text and binary
    };
    /// What nests deeper is refused. OpenDHT's own messages reach 6.
    static constexpr int kMaximumDepth = 10;

    explicit MsgpackReader(ByteView bytes) : rest_(bytes) {}

    /// The next token; of an array or a map only its head. Nothing if there is none, if it is longer than
    /// what is left, and for floats and extensions, which OpenDHT never sends.
    std::optional<Token> next();
    /// Leaves out what belongs to a token that next() has returned.
    bool skip(const Token& token, int depth = 0);
    /// Reads one whole object, whatever it is.
    bool skip_object(int depth = 0);
    bool at_end() const { return rest_.empty(); }

  private:
    std::optional<std::uint64_t> take_number(std::size_t bytes);
    std::optional<Token> take_bytes(Kind kind, std::optional<std::uint64_t> length);
    std::optional<Token> take_elements(Kind kind, std::optional<std::uint64_t> count) const;
    std::optional<Token> long_form(std::uint8_t head);

    ByteView rest_;
};

}  // namespace shoal::dht
