// How much all connections of a network together hold for others: messages that nobody has read yet, answers
// that they do not take, streams that services have not let go of.
//
// Anybody may connect under any number of keys, so bounds for each connection do not bound the process. Where
// the total is reached, strangers give way: to useful peers all of them, the largest holder first, and to
// other strangers whoever holds most. A useful peer never gives way to anybody.
//
// Thread: the network's.
#pragma once

#include <cstddef>
#include <functional>
#include <list>
#include <memory>

namespace shoal::net {

class MemoryBudget {
  public:
    class Share;
    /// @param limit  bytes; more than the whole of it is never held.
    explicit MemoryBudget(std::size_t limit) : limit_(limit) {}

    std::size_t limit() const { return limit_; }
    std::size_t held() const { return held_; }

  private:
    bool make_room(const Share& asking, std::size_t more);
    Share* largest_stranger(const Share& other_than) const;

    const std::size_t limit_;
    std::size_t held_ = 0;
    std::list<Share*> shares_;  // of the connections, in the order of their arrival
};

/// The part of one connection. What it holds is given back when it is destroyed.
class MemoryBudget::Share {
  public:
    /// @param give_way  called at most once, when the connection has to go: frees what it can.
    Share(std::shared_ptr<MemoryBudget> budget, std::function<void()> give_way);
    ~Share();
    Share(const Share&) = delete;
    Share& operator=(const Share&) = delete;

    /// Whether so many more bytes may be held; others may have given way for them.
    bool make_room(std::size_t more) { return budget_->make_room(*this, more); }
    /// It holds so much now.
    void hold(std::size_t bytes);
    std::size_t held() const { return held_; }

    /// The peer does its part: it no longer counts as a stranger.
    void mark_useful() { useful_ = true; }
    bool useful() const { return useful_; }

  private:
    friend class MemoryBudget;
    const std::shared_ptr<MemoryBudget> budget_;
    const std::function<void()> give_way_;
    std::size_t held_ = 0;
    bool useful_ = false;
    bool leaving_ = false;  // it has given way
    std::list<Share*>::iterator place_;
};

/// What a network holds where its settings do not say: an eighth of the machine's memory, 512 MiB at least.
std::size_t default_budget();

}  // namespace shoal::net
