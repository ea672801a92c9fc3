#include "shoal/dht/signed_directory.h"

#include <algorithm>
#include <fmt/format.h>

#include "shoal/base/error.h"

namespace shoal::dht {

namespace {

void check_length(const char* what, std::size_t length, std::size_t maximum) {
    if (length > maximum)
        throw Error(
            ErrorKind::invalid_argument,
            fmt::format("the {} of a directory record has {} bytes; at most {} fit", what, length, maximum));
}

void check_key(const std::string& key) {
    if (key.empty()) throw Error(ErrorKind::invalid_argument, "the key of a directory record is empty");
    check_length("key", key.size(), kMaximumKeyBytes);
}

}  // namespace

SignedDirectory::SignedDirectory(std::shared_ptr<const Signer> signer, Clock& clock)
    : signer_(std::move(signer)), self_(signer_->peer_id()), clock_(clock) {}

/// Follows the wall clock in ticks of 1/16 second, so that it goes on growing after a restart, and still
/// grows when more than 16 records a second are published.
std::uint64_t SignedDirectory::next_sequence() {
    const auto ticks = static_cast<std::uint64_t>(clock_.wall_now().time_since_epoch().count()) * 16 / 1000;
    last_sequence_ = std::max(last_sequence_ + 1, ticks);
    return last_sequence_;
}

awaitable<void> SignedDirectory::publish(std::string key, std::string subkey, Bytes value,
                                         Duration time_to_live) {
    check_key(key);
    check_length("subkey", subkey.size(), kMaximumSubkeyBytes);
    check_length("value", value.size(), kMaximumValueBytes);
    if (time_to_live <= Duration(0) || time_to_live > kMaximumTimeToLive)
        throw Error(ErrorKind::invalid_argument,
                    fmt::format("a directory record cannot live for {} s; at most {} s",
                                seconds(time_to_live), kMaximumTimeToLive.count()));
    const KeyHash hash = KeyHash::of(key);
    const WallTime now = clock_.wall_now();
    WallTime expires = now + std::chrono::ceil<std::chrono::milliseconds>(time_to_live);
    std::erase_if(promised_, [now](const auto& promise) { return promise.second <= now; });
    WallTime& promised = promised_[{hash, subkey}];
    if (value.empty()) expires = std::max(expires, promised);
    promised = std::max(promised, expires);
    SignedRecord record =
        sign_record(*signer_, hash, std::move(subkey), next_sequence(), expires, std::move(value));
    co_await publish_signed(hash, std::move(record));
}

awaitable<std::vector<Record>> SignedDirectory::read(std::string key) {
    check_key(key);
    const std::vector<SignedRecord> found = co_await read_signed(KeyHash::of(key));
    std::vector<Record> records;
    records.reserve(found.size());
    for (const SignedRecord& record : found) records.push_back(to_record(record, key));
    std::sort(records.begin(), records.end(), [](const Record& a, const Record& b) {
        return std::tie(a.owner, a.subkey) < std::tie(b.owner, b.subkey);
    });
    co_return records;
}

std::shared_ptr<void> SignedDirectory::watch(std::string key, Watcher watcher) {
    check_key(key);
    const KeyHash hash = KeyHash::of(key);
    return watch_signed(hash, [key = std::move(key), watcher = std::move(watcher)](
                                  const SignedRecord& record) { watcher(to_record(record, key)); });
}

}  // namespace shoal::dht
