// Something that OpenDHT will call back about, perhaps long after we have stopped to wait for it. Internal to
// dht/.
#pragma once

#include <memory>

#include "shoal/base/async.h"

namespace shoal::dht {

/// Owned by whoever waits and by the callback.
struct Operation {
    explicit Operation(const asio::any_io_executor& executor) : ended(executor) {}
    void end(bool success) {
        over = true;
        ok = success;
        ended.notify();
    }
    Signal ended;
    bool over = false;
    bool ok = false;
};

inline awaitable<void> wait_for(std::shared_ptr<Operation> operation) {
    while (!operation->over) co_await operation->ended.wait();
}

}  // namespace shoal::dht
