#include "shoal/data/unigram.h"

#include <algorithm>

#include "shoal/data/text_normaliser.h"

namespace shoal::data {
namespace {

constexpr float kUnknownPenalty = 10;  // as in SentencePiece
constexpr std::size_t kNowhere = static_cast<std::size_t>(-1);

std::uint64_t edge(std::uint32_t node, char c) {
    return std::uint64_t{node} << 8 | static_cast<unsigned char>(c);
}

/// The best way to reach a place in the text.
struct Reached {
    float score = 0;
    std::size_t from = kNowhere;
    std::int64_t id = -1;
};

}  // namespace

void Unigram::add(std::string_view piece, std::int64_t id, float score) {
    if (piece.empty()) return;
    std::uint32_t node = 0;
    for (const char c : piece) {
        const auto [next, is_new] =
            edges_.try_emplace(edge(node, c), static_cast<std::uint32_t>(nodes_.size()));
        if (is_new) nodes_.emplace_back();
        node = next->second;
    }
    nodes_[node] = {id, score};
    lowest_score_ = std::min(lowest_score_, score);
}

void Unigram::encode(std::string_view text, std::vector<std::int64_t>& ids) const {
    const float unknown_score = lowest_score_ - kUnknownPenalty;
    std::vector<Reached> best(text.size() + 1);
    const auto offer = [&](std::size_t from, std::size_t to, double score, std::int64_t id) {
        // Compared in double and kept in float, as SentencePiece does: it decides ties the same way.
        const double total = score + static_cast<double>(best[from].score);
        if (best[to].from == kNowhere || total > static_cast<double>(best[to].score)) {
            best[to] = {static_cast<float>(total), from, id};
        }
    };
    for (std::size_t from = 0; from < text.size();) {
        const std::size_t character = std::max<std::size_t>(1, utf8_length(text.substr(from)));
        bool covered = false;
        std::uint32_t node = 0;
        for (std::size_t at = from; at < text.size(); ++at) {
            const auto next = edges_.find(edge(node, text[at]));
            if (next == edges_.end()) break;
            node = next->second;
            if (nodes_[node].id < 0) continue;
            offer(from, at + 1, static_cast<double>(nodes_[node].score), nodes_[node].id);
            covered = covered || at + 1 == from + character;
        }
        if (!covered) offer(from, from + character, static_cast<double>(unknown_score), unknown_);
        from += character;
    }
    const std::size_t start = ids.size();
    for (std::size_t at = text.size(); at > 0; at = best[at].from) {
        const bool repeated = best[at].id == unknown_ && ids.size() > start && ids.back() == unknown_;
        if (!repeated) ids.push_back(best[at].id);
    }
    std::reverse(ids.begin() + static_cast<std::ptrdiff_t>(start), ids.end());
}

}  // namespace shoal::data
