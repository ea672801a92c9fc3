// The real network: TLS 1.3 over TCP, many streams on one connection. See docs/wire.md for the frames.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "shoal/base/log.h"
#include "shoal/net/network.h"

namespace shoal::net {

/// What two peers must agree on before they talk: (name, value) pairs, e.g. ("run", "albert-demo"),
/// ("target_batch_size", "512"). The handshake compares the protocol version and a hash of these, and a
/// refusal names the first field that differs. An observer (status, doctor, a directory-only node) leaves
/// them empty and is accepted by everybody, but by those who have settings only to what they serve to
/// Audience::everybody.
using AgreedSettings = std::vector<std::pair<std::string, std::string>>;

enum class Encryption { tls, none };

struct NetworkSettings {
    bool accept_connections = true;       ///< false: client mode, nothing is listened on
    std::string listen_host = "0.0.0.0";  ///< all interfaces; "::" for IPv6 too
    std::uint16_t listen_port = 0;        ///< 0: any free port
    AgreedSettings agreed;
    Encryption encryption = Encryption::tls;  ///< none: for measurements only; refuses peers that differ
    Duration dial_timeout = std::chrono::seconds(10);
    Duration ping_interval =
        std::chrono::milliseconds(500);  ///< pings on a connection that carries nothing else
    Duration peer_timeout = std::chrono::milliseconds(2000);  ///< a peer silent for this long is lost
    std::size_t stream_window = 4 * 1024 * 1024;              ///< credit of one stream, bytes
    std::size_t maximum_unread = 0;  ///< bytes that all connections together may hold; 0: default_budget()
    std::size_t maximum_connections = 4096;
    std::size_t maximum_streams = 1024;  ///< open at once on one connection
    /// TCP connections that together make the link to a peer which is far away, where this side dials; 1
    /// to 8.
    std::size_t far_connections = 4;
    Duration far_round_trip = std::chrono::milliseconds(40);  ///< what counts as far
};

/// Starts listening at once. Throws Error(system) naming the port when it is taken.
/// @param executor  of an io_context that one thread runs.
std::shared_ptr<Network> make_tcp_network(asio::any_io_executor executor, Clock& clock, KeyPair key,
                                          NetworkSettings settings, Log log);

/// The port that a network from make_tcp_network listens on; 0 in client mode.
std::uint16_t listen_port(const Network& network);

/// Stops listening, ends all connections and waits until that is done.
awaitable<void> shut_down(std::shared_ptr<Network> network);

}  // namespace shoal::net
