// The second seam: the network. Peers are named by PeerId; between two of them run any number of message
// streams.
//
// A Stream carries messages both ways, in order, with back-pressure (credits in bytes for each stream), over
// one encrypted connection that either side may have dialled: a peer behind a NAT is called over the
// connection that it opened itself. The real implementation is net::TcpNetwork (TLS 1.3 over TCP), the
// simulated one sim::SimulatedNetwork; protocol code sees only this file and net/rpc.h.
//
// Thread: everything here runs on the one thread of the executor that the network was made with.
#pragma once

#include <asio/any_io_executor.hpp>
#include <asio/awaitable.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "shoal/base/bytes.h"
#include "shoal/base/clock.h"
#include "shoal/base/identity.h"

namespace shoal::net {

/// Where a peer can be dialled. `host` is an IP address or a DNS name, `port` a TCP port (the directory uses
/// the same UDP port).
struct Endpoint {
    std::string host;
    std::uint16_t port = 0;
    auto operator<=>(const Endpoint&) const = default;
    std::string to_string() const;
    /// "host:port", "[v6]:port". Throws Error(invalid_argument) on anything else.
    static Endpoint parse(std::string_view text);
};

/// One message of a stream: a few bytes of control (a serialised protobuf; may be empty) and a payload
/// (tensor bytes; may be empty). Either may be up to kMaximumControlBytes / kMaximumPayloadBytes; what is
/// larger is cut into several by the caller.
struct Message {
    Message() = default;
    explicit Message(Bytes control_bytes, Bytes payload_bytes = {})
        : control(std::move(control_bytes)), payload(std::move(payload_bytes)) {}
    Bytes control;
    Bytes payload;
};

inline constexpr std::size_t kMaximumControlBytes = 256 * 1024;
inline constexpr std::size_t kMaximumPayloadBytes = 1024 * 1024;

/// One end of a message stream. Destroying it resets the stream if it has not ended on both sides.
class Stream {
  public:
    virtual ~Stream() = default;

    /// Who is at the other end. Proven by the handshake of the connection.
    virtual const PeerId& peer() const = 0;

    /// Hands a message over; returns when there is room for more (not when it has arrived). The views must
    /// stay valid until then. Throws Error: connection_lost (with the cause), refused (the other side reset
    /// the stream, with its reason), cancelled, invalid_argument (too large). At most one write() may be
    /// under way.
    virtual awaitable<void> write(ByteView control, ByteView payload) = 0;

    /// The next message, or nothing when the other side has finished writing. Same errors. At most one read()
    /// may be under way.
    virtual awaitable<std::optional<Message>> read() = 0;

    /// Says that no more messages will be written. Does not wait.
    virtual void finish() = 0;

    /// Ends the stream both ways at once; the other side's read() and write() throw Error(refused) with this
    /// reason.
    virtual void reset(const std::string& reason) = 0;
};

using StreamPointer = std::shared_ptr<Stream>;

/// Whom a service is for.
enum class Audience {
    members,    ///< peers that have agreed on the run's settings in the handshake
    everybody,  ///< observers, too (status, doctor, meeting points): whoever has a key
};

/// Serves one incoming stream. Runs as a task of the network until it returns; an exception resets the stream
/// with its text.
using StreamHandler = std::function<awaitable<void>(StreamPointer)>;

/// What is known of a connection, measured from its real traffic.
struct ConnectionInfo {
    PeerId peer;
    std::string remote_address;  ///< as seen by this side, for logs
    bool dialled_by_us = false;
    std::uint64_t bytes_sent = 0;       ///< on the wire, TLS included
    std::uint64_t bytes_delivered = 0;  ///< of those, what the other machine has acknowledged
    std::uint64_t bytes_received = 0;
    Duration round_trip{0};  ///< smoothed; 0 until measured
};

/// Finds where a peer can be dialled; empty when unknown, or when the peer accepts no connections. Handed in
/// by dht.
using AddressResolver = std::function<awaitable<std::vector<Endpoint>>(PeerId)>;

class Network {
  public:
    virtual ~Network() = default;

    virtual const PeerId& self() const = 0;
    virtual asio::any_io_executor executor() const = 0;

    /// Opens a stream to a service of a peer, over the connection that exists (whoever dialled it) or a new
    /// one to the addresses that the resolver finds. Returns once the stream may be written to; whether the
    /// peer knows the service shows at the first read(). Throws Error(unreachable) naming each address and
    /// its cause, or cancelled. No deadline of its own for the caller's patience: wrap it in with_deadline; a
    /// single dial attempt ends after NetworkSettings::dial_timeout.
    virtual awaitable<StreamPointer> open(PeerId peer, std::string service) = 0;

    /// Answers streams for a service from now on. One handler a service; setting an empty one stops it. The
    /// streams of others are reset with the reason. What is served to members here is heard from members
    /// only: on a stream for it that open() has opened to an observer, read() throws Error(refused).
    virtual void serve(std::string service, StreamHandler handler, Audience audience = Audience::members) = 0;

    /// Dials an address whose owner is not yet known (a bootstrap address) and returns who answered. An
    /// existing connection to that peer is kept and used. Returns self() if the address is our own. Throws
    /// Error(unreachable | refused | timed_out) with the cause; Error(bad_input) if another process there has
    /// our key.
    virtual awaitable<PeerId> dial(Endpoint endpoint) = 0;

    /// Peers with a live connection now.
    virtual std::vector<ConnectionInfo> connections() const = 0;
    virtual bool is_connected(const PeerId& peer) const = 0;

    /// Called on the network's thread whenever a connection to a peer comes up (true) or the last one to it
    /// is lost (false, with the cause). Returns a token; the observer ends when the token is destroyed.
    using Observer = std::function<void(const PeerId& peer, bool connected, const std::string& cause)>;
    virtual std::shared_ptr<void> observe(Observer observer) = 0;

    /// Drops all connections to a peer (it is banned, or believed dead); its streams end with this reason.
    virtual void disconnect(const PeerId& peer, const std::string& reason) = 0;

    /// The caller knows that this peer does its part (it has taken part in a round, sent good state, was
    /// named by the user): where places or memory run out, strangers give way to it, and it gives way to
    /// nobody. It is remembered when its connection ends. Never call it for words alone: keys are free.
    virtual void mark_useful(const PeerId& peer) = 0;

    virtual void set_resolver(AddressResolver resolver) = 0;
};

}  // namespace shoal::net
