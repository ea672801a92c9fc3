#include "shoal/dht/record_store.h"

#include <algorithm>

namespace shoal::dht {

std::size_t RecordStore::records_of(const Shelf& shelf, const PublicKey& owner) const {
    std::size_t count = 0;
    for (auto entry = shelf.lower_bound({owner, {}}); entry != shelf.end() && entry->first.first == owner;
         ++entry)
        ++count;
    return count;
}

RecordFault RecordStore::would_refuse(const KeyHash& key, const SignedRecord& record, WallTime now) const {
    if (record.expires <= now) return RecordFault::expired;
    const auto shelf = shelves_.find(key);
    if (shelf != shelves_.end()) {
        const auto known = shelf->second.find({record.owner, record.subkey});
        if (known != shelf->second.end()) {
            const SignedRecord& held = known->second.record;
            const bool newer = record.sequence > held.sequence;
            return newer || record == held ? RecordFault::none : RecordFault::stale;
        }
        if (shelf->second.size() >= limits_.records_per_key) return RecordFault::quota;
        if (records_of(shelf->second, record.owner) >= limits_.records_per_owner) return RecordFault::quota;
    } else if (limits_.records_per_key == 0 || limits_.records_per_owner == 0) {
        return RecordFault::quota;
    }
    return size_ >= limits_.records ? RecordFault::quota : RecordFault::none;
}

RecordStore::Offer RecordStore::offer(const KeyHash& key, const SignedRecord& record, WallTime now) {
    RecordFault fault = would_refuse(key, record, now);
    if (fault == RecordFault::quota) {
        forget_expired(now);
        fault = would_refuse(key, record, now);
    }
    if (fault != RecordFault::none) return {fault, false};
    const Name name{record.owner, record.subkey};
    auto [entry, inserted] = shelves_[key].try_emplace(name);
    Entry& held = entry->second;
    if (!inserted && held.record == record) return {RecordFault::none, false};
    if (!inserted) by_expiry_.erase({held.forget_at, key, name});
    held.record = record;
    held.forget_at = std::max(held.forget_at, record.expires);
    by_expiry_.insert({held.forget_at, key, name});
    size_ += inserted;
    return {RecordFault::none, true};
}

bool RecordStore::holds(const KeyHash& key, const SignedRecord& record) const {
    const auto shelf = shelves_.find(key);
    if (shelf == shelves_.end()) return false;
    const auto known = shelf->second.find({record.owner, record.subkey});
    return known != shelf->second.end() && known->second.record == record;
}

std::vector<SignedRecord> RecordStore::read(const KeyHash& key, WallTime now) const {
    std::vector<SignedRecord> result;
    const auto shelf = shelves_.find(key);
    if (shelf == shelves_.end()) return result;
    for (const auto& [name, entry] : shelf->second)
        if (entry.record.expires > now) result.push_back(entry.record);
    return result;
}

void RecordStore::forget_expired(WallTime now) {
    while (!by_expiry_.empty() && std::get<0>(*by_expiry_.begin()) <= now) {
        const auto& [when, key, name] = *by_expiry_.begin();
        const auto shelf = shelves_.find(key);
        shelf->second.erase(name);
        if (shelf->second.empty()) shelves_.erase(shelf);
        by_expiry_.erase(by_expiry_.begin());
        --size_;
    }
}

}  // namespace shoal::dht
