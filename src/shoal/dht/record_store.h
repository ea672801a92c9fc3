// The newest record of each name, within quotas: what a directory knows.
#pragma once

#include <cstddef>
#include <map>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "shoal/dht/record.h"

namespace shoal::dht {

struct StoreLimits {
    std::size_t records = 65536;         ///< in all, about 40 MB
    std::size_t records_per_key = 4096;  ///< of all owners
    std::size_t records_per_owner = 64;  ///< of one owner under one key
};

/// Holds checked records only. Newest wins by sequence number; of two with the same number the first is kept.
/// A name is remembered until the longest-lived record seen of it has expired, so that an old record cannot
/// come back after a newer one with a shorter life.
class RecordStore {
  public:
    explicit RecordStore(StoreLimits limits = {}) : limits_(limits) {}

    struct Offer {
        RecordFault fault = RecordFault::none;
        bool changed = false;  ///< false with no fault: the very same record was there
    };
    /// Takes a record that check_record has passed. When the quotas are used up, what has expired goes first;
    /// after that the record is refused.
    Offer offer(const KeyHash& key, const SignedRecord& record, WallTime now);

    /// What offer() would say, without taking the record (and before its signature is checked).
    RecordFault would_refuse(const KeyHash& key, const SignedRecord& record, WallTime now) const;

    /// Whether this very record is held. Its signature need not be checked again.
    bool holds(const KeyHash& key, const SignedRecord& record) const;

    /// Live records under a key, in the order of (owner's public key, subkey).
    std::vector<SignedRecord> read(const KeyHash& key, WallTime now) const;

    void forget_expired(WallTime now);
    std::size_t size() const { return size_; }

  private:
    using Name = std::pair<PublicKey, std::string>;
    struct Entry {
        SignedRecord record;
        WallTime forget_at{};
    };
    using Shelf = std::map<Name, Entry>;
    std::size_t records_of(const Shelf& shelf, const PublicKey& owner) const;

    StoreLimits limits_;
    std::map<KeyHash, Shelf> shelves_;
    std::set<std::tuple<WallTime, KeyHash, Name>> by_expiry_;  // of every entry, its forget_at
    std::size_t size_ = 0;
};

}  // namespace shoal::dht
