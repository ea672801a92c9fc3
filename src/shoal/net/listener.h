// Accepts connections and shakes hands with a bounded number of strangers at a time.
#pragma once

#include <functional>
#include <list>
#include <memory>
#include <string>

#include "shoal/base/async.h"
#include "shoal/base/log.h"
#include "shoal/net/link.h"

namespace shoal::net {

/// What a listener does with those who call.
struct Reception {
    Reception(std::shared_ptr<LinkContext> c, PeerAdmission a, std::function<void(Link)> l, Duration t)
        : context(std::move(c)), admission(std::move(a)), on_link(std::move(l)), handshake_timeout(t) {}
    std::shared_ptr<LinkContext> context;
    PeerAdmission admission;
    std::function<void(Link)> on_link;  ///< every handshake that succeeds ends here
    Duration handshake_timeout;         ///< of one stranger
};

class Listener : public std::enable_shared_from_this<Listener> {
  public:
    /// Strangers who shake hands at once. When one more comes, the one who began first is dropped, so that
    /// silent connections cannot keep others out.
    static constexpr std::size_t kMaximumStrangers = 128;

    /// Binds at once. Throws Error(system) naming host and port if they are taken, Error(invalid_argument) if
    /// the host is no IP address.
    Listener(const asio::any_io_executor& executor, Clock& clock, const std::string& host, std::uint16_t port,
             Log log);

    std::uint16_t port() const { return port_; }

    /// Accepts until cancelled or closed. The handshakes run in `tasks`.
    awaitable<void> run(TaskGroup& tasks, std::shared_ptr<const Reception> reception);
    void close();

  private:
    /// Somebody in the middle of the handshake.
    struct Stranger {
        Stranger(const asio::any_io_executor& executor, tcp::socket s)
            : socket(std::move(s)), address(remote_address_of(socket)), handshake(executor) {}
        tcp::socket socket;
        const std::string address;
        TaskGroup handshake;
    };
    awaitable<void> receive(std::shared_ptr<Stranger> stranger, std::shared_ptr<const Reception> reception);
    awaitable<void> shake_hands(std::shared_ptr<Stranger> stranger,
                                std::shared_ptr<const Reception> reception);

    Clock& clock_;
    tcp::acceptor acceptor_;
    std::uint16_t port_ = 0;
    Log log_;
    std::list<std::shared_ptr<Stranger>> strangers_;  // in the order of their arrival
};

}  // namespace shoal::net
