#include "shoal/net/memory_budget.h"

#include <algorithm>
#include <utility>

#include "shoal/base/memory.h"

namespace shoal::net {

MemoryBudget::Share::Share(std::shared_ptr<MemoryBudget> budget, std::function<void()> give_way)
    : budget_(std::move(budget)), give_way_(std::move(give_way)) {
    place_ = budget_->shares_.insert(budget_->shares_.end(), this);
}

MemoryBudget::Share::~Share() {
    hold(0);
    budget_->shares_.erase(place_);
}

void MemoryBudget::Share::hold(std::size_t bytes) {
    budget_->held_ += bytes;
    budget_->held_ -= held_;
    held_ = bytes;
}

MemoryBudget::Share* MemoryBudget::largest_stranger(const Share& other_than) const {
    Share* largest = nullptr;
    for (Share* share : shares_) {
        if (share == &other_than || share->useful_ || share->leaving_ || share->held_ == 0) continue;
        if (!largest || share->held_ > largest->held_) largest = share;
    }
    return largest;
}

bool MemoryBudget::make_room(const Share& asking, std::size_t more) {
    while (held_ + more > limit_) {
        Share* largest = largest_stranger(asking);
        if (!largest) return false;
        // Among strangers only whoever takes more than the one that asks gives way to it.
        if (!asking.useful_ && largest->held_ <= asking.held_ + more) return false;
        largest->leaving_ = true;
        largest->give_way_();
    }
    return true;
}

std::size_t default_budget() {
    // A round of the largest group may have a window of each other member unread: 63 times 4 MiB.
    constexpr std::size_t kLeast = std::size_t{512} << 20;
    return std::max(kLeast, memory_of_machine() / 8);
}

}  // namespace shoal::net
