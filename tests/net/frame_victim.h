// A multiplexer that gets whatever bytes one likes, with a service that answers on every stream. For property
// tests and for the fuzzer: nothing that arrives may crash it, and what it holds stays bounded.
#pragma once

#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/io_context.hpp>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "shoal/net/memory_pipe.h"
#include "shoal/net/multiplexer.h"

namespace shoal::net::testing {

class FrameVictim {
  public:
    /// @param budget  shared with other victims of the same process, where several are attacked.
    explicit FrameVictim(std::shared_ptr<MemoryBudget> budget = nullptr) {
        auto [ours, theirs] = MemoryPipe::make_pair(context_.get_executor(), std::size_t{1} << 24);
        attacker_ = std::move(theirs);
        Terms terms;
        terms.our_window = terms.their_window = kMinimumWindow;
        terms.our_streams = 16;
        terms.maximum_unread = 4 * kMinimumWindow;
        terms.budget = std::move(budget);
        const PeerId peer = PeerId();
        Multiplexer::Acceptor acceptor = [this](StreamPointer stream, std::string service) {
            if (service == "hold") {
                held_.push_back(std::move(stream));
            } else if (service == "begin") {
                asio::co_spawn(context_, begin(std::move(stream)), asio::detached);
            } else {
                asio::co_spawn(context_, answer(std::move(stream)), asio::detached);
            }
        };
        victim_ = std::make_shared<Multiplexer>(context_.get_executor(), clock_, std::move(ours), peer, false,
                                                terms, std::move(acceptor));
        asio::co_spawn(context_, run(victim_, cause_), asio::detached);
        own_ = victim_->open("own");  // number 2: the attacker may answer on it
        asio::co_spawn(context_, answer(own_), asio::detached);
        context_.poll();
    }
    ~FrameVictim() {
        attacker_->close();
        context_.poll();
        held_.clear();
        own_.reset();
    }
    FrameVictim(const FrameVictim&) = delete;
    FrameVictim& operator=(const FrameVictim&) = delete;

    /// Sends bytes as one write and lets the victim work until it waits.
    void feed(ByteView bytes) {
        asio::co_spawn(context_, send(*attacker_, Bytes(bytes.begin(), bytes.end())), asio::detached);
        asio::co_spawn(context_, take(*attacker_), asio::detached);
        context_.restart();
        context_.poll();
    }

    /// Sends bytes and takes no answer.
    void flood(ByteView bytes) {
        asio::co_spawn(context_, send(*attacker_, Bytes(bytes.begin(), bytes.end())), asio::detached);
        context_.restart();
        context_.poll();
    }

    bool ended() const { return !victim_->alive(); }
    /// Why; set when it has ended completely.
    const std::string& cause() const { return cause_; }
    const Multiplexer& victim() const { return *victim_; }
    Multiplexer& victim() { return *victim_; }

  private:
    static awaitable<void> run(std::shared_ptr<Multiplexer> victim, std::string& cause) {
        cause = co_await victim->run(Bytes());
    }
    static awaitable<void> answer(StreamPointer stream) {
        try {
            bool more = true;
            while (more) {
                const std::optional<Message> message = co_await stream->read();
                more = message.has_value();
                if (more) co_await stream->write(message->control, message->payload);
            }
            stream->finish();
        } catch (const Error&) {
            // The stream or the connection ended.
        }
    }
    /// Reads the first message and then no more.
    awaitable<void> begin(StreamPointer stream) {
        try {
            co_await stream->read();
        } catch (const Error&) {
            co_return;
        }
        held_.push_back(std::move(stream));
    }
    static awaitable<void> send(MemoryPipe& pipe, Bytes bytes) {
        OutgoingBatch batch;
        batch.begin(bytes);
        try {
            co_await pipe.flush(batch);
        } catch (const Error&) {
            // The victim has closed.
        }
    }
    static awaitable<void> take(MemoryPipe& pipe) {
        try {
            co_await pipe.read();
        } catch (const Error&) {
            // The victim has closed.
        }
    }

    asio::io_context context_;
    RealClock clock_;
    std::unique_ptr<MemoryPipe> attacker_;
    std::shared_ptr<Multiplexer> victim_;
    std::vector<StreamPointer> held_;
    StreamPointer own_;
    std::string cause_;
};

}  // namespace shoal::net::testing
