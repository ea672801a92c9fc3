// What all real directories share: signing on the way in, checking on the way out. How signed records are
// stored and found is left to the derived class.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "shoal/base/clock.h"
#include "shoal/dht/directory.h"
#include "shoal/dht/record_store.h"

namespace shoal::dht {

/// Told of checked records.
using SignedWatcher = std::function<void(const SignedRecord&)>;

/// Thread: the one of the executor that the derived class was made with. Destroy it only when none of its
/// coroutines runs.
class SignedDirectory : public Directory {
  public:
    /// @param signer  signs what publish() is given.
    SignedDirectory(std::shared_ptr<const Signer> signer, Clock& clock);

    awaitable<void> publish(std::string key, std::string subkey, Bytes value, Duration time_to_live) final;
    awaitable<std::vector<Record>> read(std::string key) final;
    [[nodiscard]] std::shared_ptr<void> watch(std::string key, Watcher watcher) final;

    // --- for records that are signed already, by whomever
    // ---------------------------------------------------
    /// Stores a checked record, and announces it again until it expires. Errors as publish(); Error(refused)
    /// if it is stale or beyond a quota.
    virtual awaitable<void> publish_signed(KeyHash key, SignedRecord record) = 0;
    /// Checked live records, newest of each name.
    virtual awaitable<std::vector<SignedRecord>> read_signed(KeyHash key) = 0;
    /// Pushes checked live records, each only once and never an older one after a newer, until the token is
    /// destroyed.
    [[nodiscard]] virtual std::shared_ptr<void> watch_signed(KeyHash key, SignedWatcher watcher) = 0;

    const PeerId& self() const { return self_; }
    Clock& clock() const { return clock_; }

  protected:
    const Signer& signer() const { return *signer_; }

  private:
    std::uint64_t next_sequence();

    std::shared_ptr<const Signer> signer_;
    PeerId self_;
    Clock& clock_;
    std::uint64_t last_sequence_ = 0;
    /// Newest expiry that we gave to each (key, subkey): a goodbye has to outlive what it takes back.
    std::map<std::pair<KeyHash, std::string>, WallTime> promised_;
};

}  // namespace shoal::dht
