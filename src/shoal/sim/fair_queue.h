// What waits for a line that several flows share, in the order in which it passes: while flows wait, each
// gets an equal part of the bytes, and a flow that begins is not behind what others have brought before.
//
// Start-time fair queueing: an item starts, in bytes of virtual time, when what its flow has brought before
// has ended, or now if that is past; the one that starts first passes first, and among equals the one that
// came first. So everything follows from the order of the calls.
//
// Thread: the one of the simulation.
#pragma once

#include <algorithm>
#include <compare>
#include <cstdint>
#include <map>
#include <utility>
#include <vector>

namespace shoal::sim {

/// Streams are flows; those of a connection are a group, which matters to push_last() only.
struct FlowKey {
    std::uint64_t group = 0, flow = 0;
    auto operator<=>(const FlowKey&) const = default;
};

template <typename Item>
class FairQueue {
  public:
    bool empty() const { return items_.empty(); }

    /// The item waits behind all that its flow has brought.
    void push(const FlowKey& key, Item item) {
        const auto end = place_of(key);
        const bool is_known = end != ends_.end() && end->first == key;
        insert(is_known ? std::max(now_, end->second) : now_, std::move(item));
    }

    /// The flow has brought so many bytes.
    void charge(const FlowKey& key, std::uint64_t bytes) {
        auto end = place_of(key);
        if (end == ends_.end() || end->first != key) end = ends_.emplace(end, key, 0);
        end->second = std::max(now_, end->second) + bytes;
    }

    /// The item waits behind all that the group has brought.
    void push_last(std::uint64_t group, Item item) {
        std::uint64_t start = now_;
        for (auto flow = place_of({group, 0}); flow != ends_.end() && flow->first.group == group; ++flow)
            start = std::max(start, flow->second);
        insert(start, std::move(item));
    }

    /// Takes out what passes next. Precondition: !empty().
    Item pop() {
        auto first = items_.extract(items_.begin());
        now_ = first.key().first;
        if (items_.empty()) std::erase_if(ends_, [this](const auto& flow) { return flow.second <= now_; });
        return std::move(first.mapped());
    }

  private:
    using Ends = std::vector<std::pair<FlowKey, std::uint64_t>>;

    /// Of this flow, or where it belongs.
    typename Ends::iterator place_of(const FlowKey& key) {
        return std::lower_bound(ends_.begin(), ends_.end(), key,
                                [](const auto& flow, const FlowKey& wanted) { return flow.first < wanted; });
    }

    void insert(std::uint64_t start, Item item) {
        items_.emplace(std::pair(start, inserted_++), std::move(item));
    }

    std::uint64_t now_ = 0, inserted_ = 0;
    std::map<std::pair<std::uint64_t, std::uint64_t>, Item> items_;  // by start and number
    Ends ends_;  // by flow, ascending: there are some dozens, and they are asked for with each item
};

}  // namespace shoal::sim
