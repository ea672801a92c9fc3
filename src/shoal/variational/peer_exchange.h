// Each device is a process of its own, and no machine is in the middle: device i owns the i-th share. It
// sends every other device the part of its message for that one's share, makes an answer of the parts that it
// gets, and sends that to all. Between two devices there is one stream, opened by the one of the higher
// number.
//
// All devices are needed in every exchange: where one is lost, is silent for too long, or sends what does not
// fit, the run ends everywhere, and the error names it.
//
// Thread: the network's. Operators are evaluated there, too, so one evaluation should not take longer than
// peers may be silent (net::NetworkSettings::peer_timeout).
#pragma once

#include "shoal/base/clock.h"
#include "shoal/net/network.h"
#include "shoal/variational/exchange.h"

namespace shoal::variational {

struct PeerExchangeSettings {
    std::vector<PeerId> devices;                        ///< who is which device; the same list everywhere
    Duration patience = std::chrono::seconds(30);       ///< for one message of another device
    Duration connect_limit = std::chrono::seconds(60);  ///< until all are connected
};

/// The longest text of a task, in bytes.
inline constexpr std::size_t kLongestTask = 16 * 1024;

class PeerExchange final : public Exchange {
  public:
    /// Serves from now on. Network and clock outlive it. Throws Error(invalid_argument) if the network's peer
    /// is not among the devices, or one is there twice.
    PeerExchange(net::Network& network, Clock& clock, PeerExchangeSettings settings);
    /// Stops serving, and resets the streams unless leave() has ended them.
    ~PeerExchange() override;
    PeerExchange(const PeerExchange&) = delete;
    PeerExchange& operator=(const PeerExchange&) = delete;

    /// The number of this process.
    std::size_t rank() const { return rank_; }

    /// Waits until there is a stream to each other device. Throws Error(timed_out) that names those that are
    /// missing.
    awaitable<void> connect();

    /// Makes sure that all mean to run the same. Throws Error(refused) that names the first device that
    /// differs, and both texts. @param task  kLongestTask bytes at most
    awaitable<void> agree(std::string task);

    /// @param messages  one, of this device
    awaitable<std::vector<Bytes>> exchange(const Round& round, const std::vector<Message>& messages) override;

    /// The end of a run: waits until the others have all that this process has sent. Throws as exchange().
    awaitable<void> leave();

    std::string name_of(std::size_t device) const override;

    /// Payload bytes that went to other devices. Less than the traffic of a method: what a device sends to
    /// itself is not in it.
    std::uint64_t payload_sent() const { return payload_sent_; }

  private:
    struct Underway;

    awaitable<void> accept(net::StreamPointer stream);
    awaitable<void> open_to(std::size_t device);
    awaitable<net::StreamPointer> try_to_open(std::size_t device);
    awaitable<void> wait_for_all();
    awaitable<void> send(std::size_t device, Underway& underway);
    awaitable<void> receive(std::size_t device, Underway& underway);
    awaitable<void> answer(Underway& underway);
    awaitable<void> compare_task(std::size_t device, std::string task);
    awaitable<void> end_stream(std::size_t device);

    awaitable<void> write(net::Stream& stream, int kind, std::uint64_t sequence, ByteView bytes);
    awaitable<void> tell(std::size_t device, int kind, ByteView bytes);
    [[noreturn]] void throw_lost(std::size_t device, const Error& error) const;
    awaitable<Bytes> read(std::size_t device, int kind, std::size_t size);
    awaitable<net::Message> read_message(std::size_t device);
    void check_header(std::size_t device, const net::Message& message, int kind) const;

    void require_whole() const;
    void break_off(const std::exception_ptr& failure);
    awaitable<void> run_all(std::vector<awaitable<void>> tasks);

    net::Network& network_;
    Clock& clock_;
    const PeerExchangeSettings settings_;
    const std::size_t rank_;
    Signal connected_;
    std::vector<net::StreamPointer> streams_;  // by device; null for this one, and until connected
    std::vector<bool> accepted_;               // by device: its stream has been, or is being welcomed
    std::uint64_t sequence_ = 0, payload_sent_ = 0;
    std::string broken_;  // why no exchange is possible any more
};

}  // namespace shoal::variational
