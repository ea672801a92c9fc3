// Unigram tokenizer: the most probable way to cut a text into pieces of a vocabulary.
// Kudo 2018, 'Subword Regularization'; gives the same ids as SentencePiece (tested against its programs).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace shoal::data {

/// Immutable once built; safe from any thread.
class Unigram {
  public:
    /// @param unknown  id for characters that no piece covers.
    explicit Unigram(std::int64_t unknown) : unknown_(unknown) {}

    /// A piece that may come out of text. @param score logarithm of its probability, finite.
    void add(std::string_view piece, std::int64_t id, float score);

    /// Appends the ids of normalised text (valid UTF-8). Neighbouring unknown characters become one id.
    /// Time: O(length * longest piece).
    void encode(std::string_view text, std::vector<std::int64_t>& ids) const;

  private:
    struct Node {
        std::int64_t id = -1;  ///< of the piece that ends here, or -1
        float score = 0;
    };

    std::int64_t unknown_;
    float lowest_score_ = 0;
    std::vector<Node> nodes_{1};                              ///< of a trie; 0 is the root
    std::unordered_map<std::uint64_t, std::uint32_t> edges_;  ///< (node << 8 | byte) to node
};

}  // namespace shoal::data
