// A man in the middle of the connections to one port: what a line does to the bytes of real processes, at the
// moment that a test chooses. It never sees inside the encryption.
#pragma once

#include <array>
#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/redirect_error.hpp>
#include <asio/steady_timer.hpp>
#include <asio/use_awaitable.hpp>
#include <asio/write.hpp>
#include <list>
#include <memory>

#include "shoal/base/async.h"
#include "shoal/base/random.h"

namespace shoal::collective {

/// Thread: the one of the context, which outlives it.
class Middleman {
  public:
    /// To the one who listens, or back to the one who dialled.
    enum Way : std::size_t { there, back };

    Middleman(asio::io_context& context, std::uint16_t target) : state_(make(context, target)) {
        asio::co_spawn(context, accept(state_), asio::detached);
    }
    ~Middleman() {
        state_->acceptor.close();
        cut();
    }
    Middleman(const Middleman&) = delete;
    Middleman& operator=(const Middleman&) = delete;

    std::uint16_t port() const { return state_->acceptor.local_endpoint().port(); }

    /// From now on nothing more gets through that way, of old connections and of new ones.
    void hold(Way way) { state_->held[way] = true; }
    void release() {
        state_->held = {false, false};
        state_->changed.notify();
    }
    /// Bytes per second, each way.
    void set_rate(double rate) { state_->rate = rate; }
    /// The next bytes that way are replaced by others.
    void spoil(Way way) { state_->spoilt[way] = true; }
    /// All connections break, for both ends.
    void cut() {
        for (const auto& line : state_->lines) line->close();
    }
    /// All connections break for the one end; the other, of which nobody tells, still believes in them.
    void half_close(Way known_to) {
        for (const auto& line : state_->lines) {
            line->half_open = true;
            asio::error_code ignored;
            line->ends[1 - known_to].close(ignored);
        }
    }

  private:
    using Tcp = asio::ip::tcp;
    struct Line {
        explicit Line(asio::io_context& context) : ends{Tcp::socket(context), Tcp::socket(context)} {}
        std::array<Tcp::socket, 2> ends;  ///< of the dialler, and of the listener
        bool half_open = false;
        void close() {
            asio::error_code ignored;
            for (Tcp::socket& end : ends) end.close(ignored);
        }
    };
    struct State {
        State(asio::io_context& c, std::uint16_t port)
            : context(c),
              acceptor(c, Tcp::endpoint(asio::ip::address_v4::loopback(), 0)),
              target(asio::ip::address_v4::loopback(), port),
              changed(c.get_executor()) {}
        asio::io_context& context;
        Tcp::acceptor acceptor;
        Tcp::endpoint target;
        Signal changed;
        std::list<std::shared_ptr<Line>> lines;
        std::array<bool, 2> held{}, spoilt{};
        double rate = 0;
        Random random{1};
    };
    using StatePointer = std::shared_ptr<State>;
    static StatePointer make(asio::io_context& context, std::uint16_t target) {
        return std::make_shared<State>(context, target);
    }

    static awaitable<void> accept(StatePointer state) {
        for (;;) {
            auto line = std::make_shared<Line>(state->context);
            co_await state->acceptor.async_accept(line->ends[0], asio::use_awaitable);
            state->lines.push_back(line);
            asio::co_spawn(state->context, connect(state, line), asio::detached);
        }
    }

    static awaitable<void> connect(StatePointer state, std::shared_ptr<Line> line) {
        asio::error_code error;
        co_await line->ends[1].async_connect(state->target, asio::redirect_error(asio::use_awaitable, error));
        if (error) {
            line->close();
            co_return;
        }
        asio::co_spawn(state->context, carry(state, line, there), asio::detached);
        asio::co_spawn(state->context, carry(state, line, back), asio::detached);
    }

    static awaitable<void> carry(StatePointer state, std::shared_ptr<Line> line, Way way) {
        Tcp::socket &from = line->ends[way], &to = line->ends[1 - way];
        std::array<std::uint8_t, 16384> bytes;
        asio::steady_timer timer(state->context);
        for (asio::error_code error; !error;) {
            const std::size_t size = co_await from.async_read_some(
                asio::buffer(bytes), asio::redirect_error(asio::use_awaitable, error));
            while (state->held[way] && from.is_open()) co_await state->changed.wait();
            if (state->rate > 0) {
                timer.expires_after(
                    std::chrono::nanoseconds(from_seconds(static_cast<double>(size) / state->rate)));
                co_await timer.async_wait(asio::use_awaitable);
            }
            if (size > 0 && state->spoilt[way]) {
                state->spoilt[way] = false;
                for (std::size_t i = 0; i < size; ++i)
                    bytes[i] = static_cast<std::uint8_t>(state->random.below(256));
            }
            if (!error)
                co_await asio::async_write(to, asio::buffer(bytes, size),
                                           asio::redirect_error(asio::use_awaitable, error));
        }
        if (!line->half_open) line->close();
    }

    StatePointer state_;
};

}  // namespace shoal::collective
