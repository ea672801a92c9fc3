#include "shoal/dht/udp_socket.h"

#include <asio/ip/v6_only.hpp>
#include <cerrno>
#include <cstring>
#include <linux/errqueue.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "shoal/base/error.h"

namespace shoal::dht {

using asio::ip::udp;

::dht::SockAddr to_sock_addr(const udp::endpoint& endpoint) {
    return ::dht::SockAddr(endpoint.data(), static_cast<socklen_t>(endpoint.size()));
}

UdpSocket::UdpSocket(asio::any_io_executor executor, const std::string& host, std::uint16_t port)
    : v4_(executor), v6_(executor) {
    std::error_code error;
    const asio::ip::address address = asio::ip::make_address(host, error);
    if (error) throw Error(ErrorKind::invalid_argument, "'" + host + "' is no IP address to listen on");
    if (address.is_v4() || address.is_unspecified()) {
        const asio::ip::address_v4 any;
        open(v4_, udp::endpoint(address.is_v4() ? address.to_v4() : any, port), bound4_);
        port_ = v4_.local_endpoint().port();
    }
    if (address.is_v6()) {
        open(v6_, udp::endpoint(address, port_ ? port_ : port), bound6_);
        port_ = v6_.local_endpoint().port();
    }
}

void UdpSocket::open(Socket& socket, const udp::endpoint& endpoint, ::dht::SockAddr& bound) {
    const std::string what =
        "UDP port " + std::to_string(endpoint.port()) + " on " + endpoint.address().to_string();
    std::error_code error;
    socket.open(endpoint.protocol(), error);
    if (!error && endpoint.address().is_v6()) socket.set_option(asio::ip::v6_only(true), error);
    if (!error) socket.bind(endpoint, error);
    if (!error) socket.non_blocking(true, error);
    if (error) throw Error(ErrorKind::system, "cannot listen on " + what + ": " + error.message());
    // Bursts come from many peers at once, and this thread has other work, too. As much as the system grants.
    socket.set_option(asio::socket_base::receive_buffer_size(4 * 1024 * 1024), error);
    // So that closed ports are told, see take_errors().
    const int on = 1;
    if (endpoint.address().is_v4())
        ::setsockopt(socket.native_handle(), IPPROTO_IP, IP_RECVERR, &on, sizeof on);
    else
        ::setsockopt(socket.native_handle(), IPPROTO_IPV6, IPV6_RECVERR, &on, sizeof on);
    bound = to_sock_addr(socket.local_endpoint());
}

bool UdpSocket::is_bound_to(const udp::endpoint& endpoint) const {
    if (endpoint.port() != port_) return false;
    if (endpoint.address().is_loopback()) return true;
    const Socket& socket = endpoint.address().is_v4() ? v4_ : v6_;
    return socket.is_open() && socket.local_endpoint().address() == endpoint.address();
}

void UdpSocket::receive(Receiver receiver, Refused refused) {
    receiver_ = std::move(receiver);
    refused_ = std::move(refused);
    if (v4_.is_open()) wait_for_packets(v4_);
    if (v6_.is_open()) wait_for_packets(v6_);
}

void UdpSocket::wait_for_packets(Socket& socket) {
    auto on_ready = [weak = weak_from_this(), &socket](const std::error_code& error) {
        const auto self = weak.lock();
        if (!self || error == asio::error::operation_aborted || !socket.is_open()) return;
        self->take_errors(socket);
        if (socket.is_open()) self->take_packets(socket);
        if (socket.is_open()) self->wait_for_packets(socket);
    };
    socket.async_wait(Socket::wait_read, std::move(on_ready));
}

void UdpSocket::take_packets(Socket& socket) {
    // A few at a time, so that other work of this thread gets its turn.
    for (int packets = 0; packets < 32 && socket.is_open(); ++packets) {
        udp::endpoint from;
        std::error_code error;
        const std::size_t size = socket.receive_from(asio::buffer(buffer_), from, 0, error);
        if (error == asio::error::connection_refused) continue;  // of a packet before; take_errors() tells it
        if (error) return;                                       // nothing left
        receiver_(buffer_.data(), size, to_sock_addr(from));
    }
}

void UdpSocket::take_errors(Socket& socket) {
    for (int errors = 0; errors < 64 && socket.is_open(); ++errors) {
        sockaddr_storage to{};
        std::array<char, 512> control{};
        msghdr message{};
        message.msg_name = &to;
        message.msg_namelen = sizeof to;
        message.msg_control = control.data();
        message.msg_controllen = control.size();
        if (::recvmsg(socket.native_handle(), &message, MSG_ERRQUEUE | MSG_DONTWAIT) < 0) return;
        for (cmsghdr* part = CMSG_FIRSTHDR(&message); part; part = CMSG_NXTHDR(&message, part)) {
            const bool v4 = part->cmsg_level == IPPROTO_IP && part->cmsg_type == IP_RECVERR;
            const bool v6 = part->cmsg_level == IPPROTO_IPV6 && part->cmsg_type == IPV6_RECVERR;
            if ((!v4 && !v6) || part->cmsg_len < CMSG_LEN(sizeof(sock_extended_err))) continue;
            sock_extended_err cause{};
            std::memcpy(&cause, CMSG_DATA(part), sizeof cause);
            if (cause.ee_errno == ECONNREFUSED)
                refused_(::dht::SockAddr(reinterpret_cast<const sockaddr*>(&to), message.msg_namelen));
        }
    }
}

int UdpSocket::sendTo(const ::dht::SockAddr& dest, const std::uint8_t* data, std::size_t size, bool) {
    Socket& socket = dest.getFamily() == AF_INET6 ? v6_ : v4_;
    if (!dest || !socket.is_open()) return EAFNOSUPPORT;
    const auto send = [&] {
        return ::sendto(socket.native_handle(), data, size, MSG_NOSIGNAL | MSG_DONTWAIT, dest.get(),
                        dest.getLength());
    };
    // The system may tell here what became of an earlier packet, and then has not sent this one.
    if (send() >= 0 || (errno == ECONNREFUSED && send() >= 0)) return 0;
    return errno;
}

void UdpSocket::stop() {
    std::error_code ignored;
    v4_.close(ignored);
    v6_.close(ignored);
}

}  // namespace shoal::dht
