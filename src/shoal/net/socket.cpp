#include "shoal/net/socket.h"

#include <algorithm>
#include <asio/redirect_error.hpp>
#include <asio/use_awaitable.hpp>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string_view>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "shoal/net/network.h"

namespace shoal::net {
namespace {

constexpr int kUnsentBytes = 16 * 1024;
/// Of the handshake's round trip: the path is shorter than the queue before any slow line.
constexpr Duration kShortPath = std::chrono::milliseconds(5);
/// The kernel takes twice this, for its own overhead.
constexpr int kLoopbackSendBuffer = 128 * 1024;

bool is_loopback(const tcp::socket& socket) {
    std::error_code code;
    const tcp::endpoint endpoint = socket.remote_endpoint(code);
    if (code) return true;
    const asio::ip::address address = endpoint.address();
    if (address.is_v6() && address.to_v6().is_v4_mapped())
        return asio::ip::make_address_v4(asio::ip::v4_mapped, address.to_v6()).is_loopback();
    return address.is_loopback();
}

bool would_block(const std::error_code& code) {
    return code == asio::error::would_block || code == asio::error::try_again;
}

awaitable<void> wait_until_writable(tcp::socket& socket) {
    std::error_code code;
    co_await socket.async_wait(tcp::socket::wait_write, asio::redirect_error(asio::use_awaitable, code));
    if (code) throw lost(code);
}

}  // namespace

void prepare(tcp::socket& socket) {
    std::error_code ignored;
    socket.non_blocking(true, ignored);
    socket.set_option(tcp::no_delay(true), ignored);
    const int descriptor = socket.native_handle();
    if (is_loopback(socket)) {
        ::setsockopt(descriptor, SOL_SOCKET, SO_SNDBUF, &kLoopbackSendBuffer, sizeof kLoopbackSendBuffer);
        return;
    }
    const std::string_view control = round_trip_of(socket) < kShortPath ? "cubic" : "bbr";
    ::setsockopt(descriptor, IPPROTO_TCP, TCP_CONGESTION, control.data(),
                 static_cast<socklen_t>(control.size()));
    ::setsockopt(descriptor, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &kUnsentBytes, sizeof kUnsentBytes);
}

Duration round_trip_of(const tcp::socket& socket) {
    tcp_info info{};
    socklen_t size = sizeof info;
    const int descriptor = const_cast<tcp::socket&>(socket).native_handle();  // as in unacknowledged()
    if (::getsockopt(descriptor, IPPROTO_TCP, TCP_INFO, &info, &size) != 0) return Duration::max();
    return std::chrono::microseconds(info.tcpi_rtt);
}

std::uint64_t unacknowledged(const tcp::socket& socket) {
    int bytes = 0;
    // Asio gives the descriptor of a constant socket to nobody.
    const int descriptor = const_cast<tcp::socket&>(socket).native_handle();
    if (::ioctl(descriptor, SIOCOUTQ, &bytes) != 0 || bytes < 0) return 0;
    return static_cast<std::uint64_t>(bytes);
}

Error lost(const std::error_code& code) {
    if (code == asio::error::eof) return Error(ErrorKind::connection_lost, "it closed the connection");
    if (code == asio::error::operation_aborted)
        return Error(ErrorKind::cancelled, "the connection was closed here");
    if (code == asio::error::broken_pipe || code == asio::error::connection_reset)
        return Error(ErrorKind::connection_lost, "the connection was cut (" + code.message() + ")");
    return Error(ErrorKind::connection_lost, code.message());
}

std::string remote_address_of(const tcp::socket& socket) {
    std::error_code code;
    const tcp::endpoint endpoint = socket.remote_endpoint(code);
    if (code) return {};
    Endpoint address;
    address.host = endpoint.address().to_string();
    address.port = endpoint.port();
    return address.to_string();
}

awaitable<void> send_batch(tcp::socket& socket, OutgoingBatch& batch, std::uint64_t& sent) {
    while (!batch.empty()) {
        std::error_code code;
        const std::size_t count = socket.write_some(batch.parts(), code);
        if (code && !would_block(code)) throw lost(code);
        sent += count;
        batch.consume(count);
        if (!batch.empty()) co_await wait_until_writable(socket);
    }
}

awaitable<void> send_bytes(tcp::socket& socket, ByteView bytes, std::uint64_t& sent) {
    while (!bytes.empty()) {
        std::error_code code;
        const std::size_t count = socket.write_some(asio::const_buffer(bytes.data(), bytes.size()), code);
        if (code && !would_block(code)) throw lost(code);
        sent += count;
        bytes = bytes.subspan(count);
        if (!bytes.empty()) co_await wait_until_writable(socket);
    }
}

awaitable<std::size_t> receive_some(tcp::socket& socket, MutableByteView into, std::uint64_t& received) {
    std::error_code code;
    const asio::mutable_buffer buffer(into.data(), into.size());
    const std::size_t count =
        co_await socket.async_read_some(buffer, asio::redirect_error(asio::use_awaitable, code));
    if (code) throw lost(code);
    received += count;
    co_return count;
}

}  // namespace shoal::net
