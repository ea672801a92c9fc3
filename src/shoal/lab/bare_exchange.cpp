#include "shoal/lab/bare_exchange.h"

#include <algorithm>
#include <asio/buffer.hpp>
#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/read.hpp>
#include <asio/use_awaitable.hpp>
#include <asio/write.hpp>
#include <chrono>
#include <ctime>
#include <fmt/format.h>
#include <unistd.h>
#include <vector>

#include "shoal/base/async.h"
#include "shoal/base/clock.h"
#include "shoal/base/run_until.h"
#include "shoal/lab/rendezvous.h"

namespace shoal::lab {
namespace {

using asio::ip::tcp;

constexpr std::size_t kPiece = 256 * 1024;  // as our own reads and writes

class Exchange {
  public:
    Exchange(asio::io_context& context, const BareExchangeOptions& options)
        : context_(context),
          options_(options),
          acceptor_(context, tcp::endpoint(asio::ip::address_v4::loopback(), 0)),
          outgoing_(kPiece),
          share_(2 * options.bytes / static_cast<std::size_t>(options.size)) {}

    awaitable<void> run() {
        co_await connect();
        for (int round = 0; round < options_.rounds; ++round) {
            co_await move(1);  // all are here
            const auto start = std::chrono::steady_clock::now();
            const std::clock_t busy = std::clock();
            co_await move(share_);
            const std::chrono::duration<double> whole = std::chrono::steady_clock::now() - start;
            fmt::print("{:.6f} {:.6f}\n", whole.count(),
                       static_cast<double>(std::clock() - busy) / CLOCKS_PER_SEC);
        }
        co_await move(1);
    }

  private:
    /// Dials those of lower rank, waits for the others.
    awaitable<void> connect() {
        const auto ports = co_await meet(clock_, options_.folder, options_.rank, options_.size,
                                         std::to_string(acceptor_.local_endpoint().port()));
        for (int rank = 0; rank < options_.rank; ++rank) {
            tcp::socket socket(context_);
            const auto port = static_cast<std::uint16_t>(std::stoul(ports[static_cast<std::size_t>(rank)]));
            co_await socket.async_connect(tcp::endpoint(asio::ip::address_v4::loopback(), port),
                                          asio::use_awaitable);
            keep(std::move(socket));
        }
        while (sockets_.size() + 1 < static_cast<std::size_t>(options_.size))
            keep(co_await acceptor_.async_accept(asio::use_awaitable));
    }

    void keep(tcp::socket socket) {
        socket.set_option(tcp::no_delay(true));
        sockets_.push_back(std::move(socket));
    }

    /// So many bytes to everybody and from everybody.
    awaitable<void> move(std::size_t bytes) {
        TaskGroup group(context_.get_executor());
        for (tcp::socket& socket : sockets_) {
            group.spawn(send(socket, bytes));
            group.spawn(receive(socket, bytes));
        }
        co_await group.join();
    }

    awaitable<void> send(tcp::socket& socket, std::size_t bytes) {
        while (bytes > 0) {
            const std::size_t count = std::min(bytes, kPiece);
            const auto piece = asio::buffer(outgoing_.data(), count);
            co_await asio::async_write(socket, piece, asio::use_awaitable);
            bytes -= count;
        }
    }

    static awaitable<void> receive(tcp::socket& socket, std::size_t bytes) {
        std::vector<char> incoming(kPiece);
        while (bytes > 0) {
            const auto piece = asio::buffer(incoming.data(), std::min(bytes, kPiece));
            bytes -= co_await socket.async_read_some(piece, asio::use_awaitable);
        }
    }

    asio::io_context& context_;
    const BareExchangeOptions options_;
    RealClock clock_;
    tcp::acceptor acceptor_;
    std::vector<tcp::socket> sockets_;
    const std::vector<char> outgoing_;
    const std::size_t share_;
};

}  // namespace

void run_bare_exchange(const BareExchangeOptions& options) {
    setsid();  // all_reduce_contestants.h says why
    asio::io_context context(1);
    Exchange exchange(context, options);
    run_until_ended(context, exchange.run());
}

}  // namespace shoal::lab
