// The UDP socket that we give to OpenDHT, on asio instead of OpenDHT's own thread. Internal to dht/.
#pragma once

#include <array>
#include <asio/any_io_executor.hpp>
#include <asio/ip/udp.hpp>
#include <functional>
#include <memory>
#include <opendht/network_utils.h>
#include <string>

namespace shoal::dht {

/// Thread: the one of the executor.
class UdpSocket final : public ::dht::net::DatagramSocket, public std::enable_shared_from_this<UdpSocket> {
  public:
    using Receiver =
        std::function<void(const std::uint8_t* data, std::size_t size, const ::dht::SockAddr& from)>;

    /// Binds at once; "::" binds IPv4 and IPv6. Throws Error(system) naming the port when it is taken,
    /// Error(invalid_argument) when the host is no IP address.
    UdpSocket(asio::any_io_executor executor, const std::string& host, std::uint16_t port);

    /// Told where a packet of ours found a closed port. Anybody may make us believe that.
    using Refused = std::function<void(const ::dht::SockAddr& by)>;

    /// Begins to hand over packets.
    void receive(Receiver receiver, Refused refused);
    std::uint16_t port() const { return port_; }
    bool is_bound_to(const asio::ip::udp::endpoint& endpoint) const;

    int sendTo(const ::dht::SockAddr& dest, const std::uint8_t* data, std::size_t size,
               bool replied) override;
    bool hasIPv4() const override { return v4_.is_open(); }
    bool hasIPv6() const override { return v6_.is_open(); }
    const ::dht::SockAddr& getBoundRef(sa_family_t family) const override {
        return family == AF_INET6 ? bound6_ : bound4_;
    }
    std::vector<::dht::SockAddr> resolve(const std::string&, const std::string&) override { return {}; }
    void stop() override;

  private:
    using Socket = asio::ip::udp::socket;
    void open(Socket& socket, const asio::ip::udp::endpoint& endpoint, ::dht::SockAddr& bound);
    void wait_for_packets(Socket& socket);
    void take_packets(Socket& socket);
    void take_errors(Socket& socket);

    Socket v4_;
    Socket v6_;
    ::dht::SockAddr bound4_, bound6_;
    std::uint16_t port_ = 0;
    Receiver receiver_;
    Refused refused_;
    std::array<std::uint8_t, 65536> buffer_{};
};

::dht::SockAddr to_sock_addr(const asio::ip::udp::endpoint& endpoint);

}  // namespace shoal::dht
