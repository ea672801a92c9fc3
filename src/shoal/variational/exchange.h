// The seam between a method and the world: messages of devices go in, what the server side makes of them
// comes out, the same for everybody.
//
// There is no central server. The coordinates are divided into shares, each of which has an owner; a device
// sends each owner the part of its message for that share, and the owner sends everybody one answer. In one
// process (local_exchange.h) this is a loop over all devices; over the network (peer_exchange.h) each device
// is a process that owns the share of its number. A method cannot tell the two apart, and gets the same bytes
// from both.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "shoal/base/async.h"
#include "shoal/base/bytes.h"

namespace shoal::variational {

/// Coordinates [begin, end) of all vectors.
struct Share {
    std::size_t begin = 0, end = 0;
    std::size_t size() const { return end - begin; }
    bool operator==(const Share&) const = default;
};

/// Divides so many coordinates into shares whose sizes differ by one at most; the first are the larger ones.
std::vector<Share> equal_shares(std::size_t coordinates, std::size_t count);

/// One message: a part for each share.
using Message = std::vector<Bytes>;

/// What everybody knows in advance of one exchange, so that nothing of it travels and every length can be
/// checked.
struct Round {
    std::vector<std::size_t> senders;  ///< devices that say something, ascending; never empty
    std::function<std::size_t(std::size_t device, std::size_t share)> part_size;
    std::function<std::size_t(std::size_t share)> answer_size;
    /// What the owner of a share makes of the parts that came for it, in the order of `senders`. Throws Error
    /// on bytes that no correct device sends.
    std::function<Bytes(std::size_t share, const std::vector<ByteView>& parts)> answer;
};

class Exchange {
  public:
    virtual ~Exchange() = default;

    /// The devices whose operators this process evaluates, ascending: all of them, or one.
    const std::vector<std::size_t>& local_devices() const { return local_devices_; }
    std::size_t devices() const { return devices_; }
    /// How many shares there are.
    std::size_t owners() const { return owners_; }

    /// One exchange. All processes call it with equal rounds in the same order. Everything referred to must
    /// outlive it.
    /// @param messages  of the local devices, in their order; those that are no senders are not looked at.
    /// Returns the answers by share, the same bytes everywhere. Throws Error that names the peer which was
    /// lost, was too late, or sent what does not fit; the exchange cannot be used after that.
    virtual awaitable<std::vector<Bytes>> exchange(const Round& round,
                                                   const std::vector<Message>& messages) = 0;

    /// For messages to humans.
    virtual std::string name_of(std::size_t device) const;

  protected:
    Exchange(std::size_t devices, std::size_t owners, std::vector<std::size_t> local_devices)
        : devices_(devices), owners_(owners), local_devices_(std::move(local_devices)) {}

  private:
    std::size_t devices_, owners_;
    std::vector<std::size_t> local_devices_;
};

}  // namespace shoal::variational
