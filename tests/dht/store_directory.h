// A directory that is one store in memory, shared by all that are given it.
#pragma once

#include <asio/post.hpp>
#include <list>
#include <memory>

#include "shoal/base/error.h"
#include "shoal/dht/signed_directory.h"

namespace shoal::dht {

struct SharedStore {
    RecordStore records;
    std::list<std::pair<KeyHash, std::weak_ptr<SignedWatcher>>> watchers;
};

class StoreDirectory final : public SignedDirectory {
  public:
    StoreDirectory(asio::any_io_executor executor, const KeyPair& key, Clock& clock,
                   std::shared_ptr<SharedStore> store)
        : SignedDirectory(std::make_shared<KeyPair>(key), clock),
          executor_(std::move(executor)),
          store_(std::move(store)) {}

    awaitable<void> publish_signed(KeyHash key, SignedRecord record) override {
        const auto offer = store_->records.offer(key, record, clock().wall_now());
        if (offer.fault != RecordFault::none) throw Error(ErrorKind::refused, "stale");
        for (const auto& [watched, watcher] : store_->watchers)
            if (watched == key) deliver(watcher, record);
        co_return;
    }
    awaitable<std::vector<SignedRecord>> read_signed(KeyHash key) override {
        co_return store_->records.read(key, clock().wall_now());
    }
    std::shared_ptr<void> watch_signed(KeyHash key, SignedWatcher watcher) override {
        auto token = std::make_shared<SignedWatcher>(std::move(watcher));
        store_->watchers.emplace_back(key, token);
        for (const SignedRecord& record : store_->records.read(key, clock().wall_now()))
            deliver(token, record);
        return token;
    }

  private:
    void deliver(std::weak_ptr<SignedWatcher> weak, const SignedRecord& record) {
        asio::post(executor_, [weak, record] {
            if (const auto watcher = weak.lock()) (*watcher)(record);
        });
    }

    asio::any_io_executor executor_;
    std::shared_ptr<SharedStore> store_;
};

}  // namespace shoal::dht
