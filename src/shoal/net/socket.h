// What both socket pipes share: options, sending, and the words for what went wrong.
#pragma once

#include <asio/ip/tcp.hpp>
#include <string>
#include <system_error>

#include "shoal/base/clock.h"
#include "shoal/base/error.h"
#include "shoal/net/byte_pipe.h"

namespace shoal::net {

using asio::ip::tcp;

/// One read takes up to this much from the system.
inline constexpr std::size_t kReadBytes = 256 * 1024;

/// No delay; on paths beyond this machine BBR where the kernel has it (on short ones CUBIC: BBR keeps as much
/// under way as the shortest round trip holds, which is nothing there, and many connections of a peer then
/// starve each other on a slow line), and a short queue of unsent bytes in the kernel, so that control frames
/// and results overtake bulk data on slow links; within this machine a short buffer,
/// so that bytes are still in the processor's cache when they are read. Never fails: what the system refuses
/// is left.
void prepare(tcp::socket& socket);

/// Error(connection_lost) in plain words.
Error lost(const std::error_code& code);

/// "10.0.0.1:31337", "[::1]:31337"; empty if the socket is not connected.
std::string remote_address_of(const tcp::socket& socket);

/// As the kernel has measured it, at first in the handshake; Duration::max() if it does not say.
Duration round_trip_of(const tcp::socket& socket);

/// Bytes in the kernel that the other machine has not acknowledged; 0 if the system does not say.
std::uint64_t unacknowledged(const tcp::socket& socket);

/// Sends the whole batch from its views. The views are only looked at within calls of the system, so they may
/// be detached while this waits.
awaitable<void> send_batch(tcp::socket& socket, OutgoingBatch& batch, std::uint64_t& sent);
awaitable<void> send_bytes(tcp::socket& socket, ByteView bytes, std::uint64_t& sent);

/// Some bytes, at least one. Throws Error(connection_lost).
awaitable<std::size_t> receive_some(tcp::socket& socket, MutableByteView into, std::uint64_t& received);

}  // namespace shoal::net
