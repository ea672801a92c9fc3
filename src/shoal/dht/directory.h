// The third seam: the directory. Small signed records that expire, under keys that anybody may read and
// watch.
//
// A record belongs to its owner: (key, owner, subkey) names it, and only the owner can replace it, with a
// higher sequence number. The real implementation is dht::OpenDhtDirectory, or dht::RemoteDirectory through a
// connected peer where there is no UDP; the simulated one is sim::SimulatedDirectory.
//
// Thread: the one thread of the executor that the directory was made with.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "shoal/base/bytes.h"
#include "shoal/base/clock.h"
#include "shoal/base/identity.h"

namespace shoal::dht {

/// A record's value may have at most this many bytes, so that the whole signed record fits one packet.
inline constexpr std::size_t kMaximumValueBytes = 380;
inline constexpr std::size_t kMaximumKeyBytes = 96;
inline constexpr std::size_t kMaximumSubkeyBytes = 32;
/// Nobody stores a record that claims to live longer.
inline constexpr std::chrono::seconds kMaximumTimeToLive{600};

/// A verified record: the signature was checked, it has not expired, and it is the newest seen of its name.
struct Record {
    std::string key;
    PeerId owner;
    std::string subkey;          ///< may be empty: most owners have one record under a key
    std::uint64_t sequence = 0;  ///< grows with each publish of the owner
    WallTime expires{};
    Bytes value;  ///< empty: the owner says goodbye
};

/// Told of every new record under a key, first of those that exist. Called on the directory's thread.
using Watcher = std::function<void(const Record&)>;

class Directory {
  public:
    virtual ~Directory() = default;

    /// Signs and stores a record under our own PeerId; replaces the previous one of that key and subkey.
    /// Returns when at least one other node has stored it, or at once when we are alone (it is announced
    /// again when others appear). Throws Error(invalid_argument) if something is too long, timed_out,
    /// cancelled.
    virtual awaitable<void> publish(std::string key, std::string subkey, Bytes value,
                                    Duration time_to_live) = 0;

    /// All live records under a key, newest of each owner and subkey, in the order of (owner, subkey).
    virtual awaitable<std::vector<Record>> read(std::string key) = 0;

    /// Pushes records until the returned token is destroyed.
    [[nodiscard]] virtual std::shared_ptr<void> watch(std::string key, Watcher watcher) = 0;
};

}  // namespace shoal::dht
