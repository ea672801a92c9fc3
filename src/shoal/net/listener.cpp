#include "shoal/net/listener.h"

#include <asio/ip/v6_only.hpp>
#include <asio/redirect_error.hpp>
#include <utility>

#include "shoal/base/error.h"

namespace shoal::net {
namespace {

/// After accept() failed (too many open files), before it is tried again.
constexpr Duration kPause = std::chrono::milliseconds(100);

}  // namespace

Listener::Listener(const asio::any_io_executor& executor, Clock& clock, const std::string& host,
                   std::uint16_t port, Log log)
    : clock_(clock), acceptor_(executor), log_(std::move(log)) {
    std::error_code code;
    const asio::ip::address address = asio::ip::make_address(host, code);
    if (code) {
        throw Error(ErrorKind::invalid_argument,
                    "cannot listen on '" + host +
                        "': it is no IP address; use 0.0.0.0 for all interfaces, or :: "
                        "for IPv6 too");
    }
    const tcp::endpoint endpoint(address, port);
    acceptor_.open(endpoint.protocol(), code);
    if (!code) acceptor_.set_option(tcp::acceptor::reuse_address(true), code);
    if (!code && address.is_v6()) acceptor_.set_option(asio::ip::v6_only(false), code);
    if (!code) acceptor_.bind(endpoint, code);
    if (!code) acceptor_.listen(tcp::acceptor::max_listen_connections, code);
    if (code) {
        Endpoint shown;
        shown.host = host;
        shown.port = port;
        const bool taken = code == asio::error::address_in_use;
        throw Error(
            ErrorKind::system,
            "cannot listen on " + shown.to_string() + ": " + code.message() +
                (taken ? "; another program (a second peer?) uses this port: choose another one" : ""));
    }
    port_ = acceptor_.local_endpoint().port();
}

void Listener::close() {
    std::error_code ignored;
    acceptor_.close(ignored);
}

awaitable<void> Listener::run(TaskGroup& tasks, std::shared_ptr<const Reception> reception) {
    const auto self = shared_from_this();
    const asio::any_io_executor executor = co_await asio::this_coro::executor;
    for (;;) {
        std::error_code code;
        tcp::socket socket = co_await acceptor_.async_accept(asio::redirect_error(asio::use_awaitable, code));
        if (code == asio::error::operation_aborted || !acceptor_.is_open()) co_return;
        if (code) {
            log_.warning("cannot accept a connection: " + code.message());
            co_await clock_.sleep_for(kPause);
            continue;
        }
        if (strangers_.size() >= kMaximumStrangers) {
            log_.debug("too many handshakes at once: dropped " + strangers_.front()->address);
            strangers_.front()->handshake.cancel();
            strangers_.pop_front();
        }
        auto stranger = std::make_shared<Stranger>(executor, std::move(socket));
        strangers_.push_back(stranger);
        tasks.spawn(receive(std::move(stranger), reception));
    }
}

awaitable<void> Listener::receive(std::shared_ptr<Stranger> stranger,
                                  std::shared_ptr<const Reception> reception) {
    const auto self = shared_from_this();
    stranger->handshake.spawn(shake_hands(stranger, reception));
    co_await stranger->handshake.settle();
    strangers_.remove(stranger);
}

awaitable<void> Listener::shake_hands(std::shared_ptr<Stranger> stranger,
                                      std::shared_ptr<const Reception> reception) {
    try {
        awaitable<Link> linking =
            link_as_acceptor(reception->context, std::move(stranger->socket), reception->admission);
        Link link = co_await with_deadline(clock_, clock_.now() + reception->handshake_timeout,
                                           std::move(linking), "the handshake");
        reception->on_link(std::move(link));
    } catch (const std::exception& error) {
        log_.debug("no link with " + stranger->address + ": " + error.what());
    }
}

}  // namespace shoal::net
